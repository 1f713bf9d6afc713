"""Means, intervals and tests over replicates."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import stdtr, stdtrit

_LEVEL = 0.95

Replicate = TypeVar("Replicate", bound=Hashable)


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates.

    Args:
        mean: of the values.
        half_width: of the 95 % interval around it, by Student's t; None of a single value.
        n: how many values.
    """

    mean: float
    half_width: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """What one setting has over another, on the replicates they share.

    Args:
        estimate: of the differences.
        p: that it would be as large by chance, by a paired t test; None where the differences do not vary, or there is
            only one.
    """

    estimate: Estimate
    p: float | None


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval of at least one finite value.

    Source: W. S. Gosset ("Student"), "The probable error of a mean", 1908.
    """
    mean, error = _mean_and_error(values)
    if error is None:
        return Estimate(mean, None, len(values))
    return Estimate(mean, float(stdtrit(len(values) - 1, (1 + _LEVEL) / 2)) * error, len(values))


def paired(first: Mapping[Replicate, float], second: Mapping[Replicate, float]) -> Difference | None:
    """First minus second on the replicates that both have; None if they share none.

    Args:
        first: finite values by replicate.
        second: likewise.
    """
    shared = [key for key in first if key in second]
    if not shared:
        return None
    differences = [first[key] - second[key] for key in shared]
    mean, error = _mean_and_error(differences)
    p = 2 * float(stdtr(len(shared) - 1, -abs(mean) / error)) if error else None
    return Difference(estimate(differences), p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values corrected for their number; None stays so and does not count.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    known = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, position) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[position] = highest
    return corrected


def _mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and its standard error; what is only rounding is no spread."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, None
    spread = float(array.std(ddof=1))
    if spread <= 1e-9 * float(np.abs(array).max()):
        spread = 0.0
    return mean, spread / math.sqrt(len(array))
