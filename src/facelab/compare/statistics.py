"""Means, intervals and tests over replicates."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
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


def crossed(
    first: Mapping[Replicate, Mapping[str, float]], second: Mapping[Replicate, Mapping[str, float]]
) -> Difference | None:
    """Mean of first minus second, where both replicates and people are samples; None if they share no replicate.

    The differences form a table of R replicates by P people. With the mean squares between replicates, between people
    and of the rest, the variance of the mean is (MS_R + MS_P - MS_rest) / (R P), but at least the larger of
    MS_R / (R P) and MS_P / (R P), which is what one of the two alone would give. Degrees of freedom: F. E.
    Satterthwaite, "An approximate distribution of estimates of variance components", 1946.

    Args:
        first: finite values of each person, by replicate.
        second: likewise, of the same people.
    """
    shared = [key for key in first if key in second]
    if not shared:
        return None
    people = sorted(first[shared[0]])
    table = np.array([[first[key][person] - second[key][person] for person in people] for key in shared])
    mean, (rows, columns) = float(table.mean()), table.shape
    if rows < 2 or columns < 2:
        return Difference(Estimate(mean, None, rows), None)
    variance, freedom = _crossed_variance(table)
    if variance <= 1e-18:
        return Difference(Estimate(mean, 0.0, rows), None)
    half_width = float(student.ppf((1 + _LEVEL) / 2, freedom)) * variance**0.5
    p = 2 * float(student.sf(abs(mean) / variance**0.5, freedom))
    return Difference(Estimate(mean, half_width, rows), p)


def _crossed_variance(table: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the mean of a table (R, P) and its degrees of freedom."""
    rows, columns = table.shape
    of_rows, of_columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    rest = table - of_rows - of_columns + table.mean()
    freedom = np.array([rows - 1, columns - 1, (rows - 1) * (columns - 1)], dtype=np.float64)
    sums = np.array([columns * of_rows.var() * rows, rows * of_columns.var() * columns, (rest**2).sum()])
    squares = sums / freedom
    combined = float(squares[0] + squares[1] - squares[2])
    larger = int(squares[:2].argmax())
    if combined <= squares[larger]:
        return float(squares[larger]) / table.size, float(freedom[larger])
    return combined / table.size, combined**2 / float((squares**2 / freedom).sum())


def least_difference(deviation: float, replicates: int, of_people: float = 0.0, people: int = 1) -> float:
    """Half-width of the 95 % interval of a mean difference: the least difference whose interval can exclude 0.

    Args:
        deviation: standard deviation of the paired differences over replicates.
        replicates: number of pairs, at least 2.
        of_people: standard deviation over people of their mean differences, if people are a sample as well.
        people: their number.
    """
    variance = deviation**2 / replicates + of_people**2 / people
    return float(student.ppf((1 + _LEVEL) / 2, replicates - 1) * variance**0.5)


def holm(p_values: Sequence[float | None], comparisons: int | None = None) -> list[float | None]:
    """Correct p values for multiple comparisons by Holm's method; None stays None.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.

    Args:
        p_values: one for each comparison.
        comparisons: their number if those without a p value count; None to count the others alone.
    """
    known = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    count = len(known) if comparisons is None else comparisons
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, position) in enumerate(known):
        highest = max(highest, min(1.0, (count - rank) * p))
        corrected[position] = highest
    return corrected


def _is_constant(values: Sequence[float]) -> bool:
    """Whether values are equal up to rounding."""
    array = np.asarray(values, dtype=np.float64)
    return bool(array.std(ddof=1) <= 1e-9 * np.abs(array).max())
