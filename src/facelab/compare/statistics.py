"""Means, intervals and tests over replicates."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.stats import ttest_1samp, ttest_rel

_LEVEL = 0.95

Replicate = TypeVar("Replicate", bound=Hashable)


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates.

    Args:
        mean: of the values.
        half_width: of its 95 % interval, by Student's t; None for a single value.
        n: number of values.
    """

    mean: float
    half_width: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Paired difference of two settings, on the replicates they share.

    Args:
        estimate: of the differences.
        p: p value of a paired t test; None if the differences do not vary, or there is only one.
    """

    estimate: Estimate
    p: float | None


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval of at least one finite value.

    Source: W. S. Gosset ("Student"), "The probable error of a mean", 1908.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, None, 1)
    if _is_constant(values):
        return Estimate(mean, 0.0, len(values))
    low, high = ttest_1samp(values, popmean=0.0).confidence_interval(_LEVEL)
    return Estimate(mean, float(high - low) / 2, len(values))


def paired(first: Mapping[Replicate, float], second: Mapping[Replicate, float]) -> Difference | None:
    """Paired t test of first minus second, on the replicates that both have; None if they share none.

    Args:
        first: finite values by replicate.
        second: finite values by replicate.
    """
    shared = [key for key in first if key in second]
    if not shared:
        return None
    differences = [first[key] - second[key] for key in shared]
    if len(shared) < 2 or _is_constant(differences):
        return Difference(estimate(differences), None)
    test = ttest_rel([first[key] for key in shared], [second[key] for key in shared])
    low, high = test.confidence_interval(_LEVEL)
    return Difference(Estimate(float(low + high) / 2, float(high - low) / 2, len(shared)), float(test.pvalue))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p values for multiple comparisons by Holm's method; None stays None and does not count.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    known = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, position) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[position] = highest
    return corrected


def _is_constant(values: Sequence[float]) -> bool:
    """Whether values are equal up to rounding."""
    array = np.asarray(values, dtype=np.float64)
    return bool(array.std(ddof=1) <= 1e-9 * np.abs(array).max())
