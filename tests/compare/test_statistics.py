"""Means, intervals and tests against scipy and cases done by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from facelab.compare.statistics import Difference, Estimate, crossed, estimate, holm, paired


def test_the_interval_is_students() -> None:
    values = [0.91, 0.95, 0.93, 0.97, 0.90]
    found = estimate(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert found.n == 5
    assert found.half_width is not None
    assert found.mean - found.half_width == pytest.approx(low)
    assert found.mean + found.half_width == pytest.approx(high)


def test_two_values_have_a_wide_interval_and_one_has_none() -> None:
    two, one = estimate([0.9, 1.0]), estimate([0.9])
    assert two.half_width == pytest.approx(12.7062 * 0.05, rel=1e-4)  # t of one degree of freedom, by hand
    assert one.half_width is None
    assert one.mean == 0.9


def test_pairs_are_those_both_have() -> None:
    first = {"1": 0.9, "2": 0.8, "3": 0.95, "4": 0.1}
    second = {"3": 0.9, "1": 0.88, "2": 0.79, "5": 0.7}
    found = paired(first, second)
    assert found is not None
    expected = stats.ttest_rel([0.9, 0.8, 0.95], [0.88, 0.79, 0.9])
    interval = expected.confidence_interval()
    assert found.estimate.n == 3
    assert found.p == pytest.approx(expected.pvalue)
    assert found.estimate.half_width is not None
    assert found.estimate.mean - found.estimate.half_width == pytest.approx(interval.low)
    back = paired(second, first)
    assert back is not None
    assert back.estimate.mean == -found.estimate.mean
    assert back.p == found.p
    assert paired({"1": 0.5}, {"2": 0.5}) is None


def test_differences_that_do_not_vary_have_no_p_value() -> None:
    found = paired({"1": 0.9, "2": 0.8, "3": 0.7}, {"1": 0.8, "2": 0.7, "3": 0.6})  # equal but for rounding
    assert found is not None
    assert found.estimate.mean == pytest.approx(0.1)
    assert found.estimate.half_width == 0
    assert found.p is None


def test_holms_correction_by_hand() -> None:
    # Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5 x 1, and never less than the one before.
    assert holm([0.03, 0.01, None, 0.5, 0.02]) == pytest.approx([0.06, 0.04, None, 0.5, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.03, 0.01, None], 3) == pytest.approx([0.06, 0.03, None], nan_ok=True)
    assert holm([]) == []


def test_holm_rejects_no_more_than_bonferroni_would_allow_and_no_less() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        p_values = list(rng.uniform(size=6) ** 3)
        corrected = holm(p_values)
        for p, after in zip(p_values, corrected, strict=True):
            assert after is not None
            assert p <= after <= min(1.0, 6 * p) or math.isclose(after, min(1.0, 6 * p))


def test_intervals_over_replicates_and_people_by_hand() -> None:
    # Differences of two replicates and three people: rows (1, 2, 3) and (3, 4, 8), all in percent.
    first = {"0": {"a": 0.01, "b": 0.02, "c": 0.03}, "1": {"a": 0.03, "b": 0.04, "c": 0.08}}
    second = {key: dict.fromkeys("abc", 0.0) for key in first}
    found = crossed(first, second)
    # Means 3.5; of rows 2 and 5, of columns 2, 3, 5.5. Sums of squares: rows 3 * 4.5 = 13.5 with 1 degree of freedom,
    # columns 2 * 6.5 = 13 with 2, rest 29.5 - 26.5 = 3 with 2: mean squares 13.5, 6.5, 1.5. Variance (13.5 + 6.5 - 1.5)
    # / 6 = 3.0833; degrees of freedom 18.5 ** 2 / (13.5 ** 2 + 6.5 ** 2 / 2 + 1.5 ** 2 / 2) = 1.6737.
    assert found is not None
    assert found.estimate.mean == pytest.approx(0.035)
    half_width = stats.t.ppf(0.975, 1.67369) * 0.030833**0.5 * 0.1
    assert found.estimate.half_width == pytest.approx(half_width, rel=1e-4)
    assert found.p == pytest.approx(2 * stats.t.sf(0.035 / (0.030833**0.5 * 0.1), 1.67369), rel=1e-4)


def test_people_who_are_all_alike_leave_the_interval_over_replicates() -> None:
    values = {"0": 0.01, "1": 0.03, "2": 0.08}
    first = {key: dict.fromkeys("abc", value) for key, value in values.items()}
    second = {key: dict.fromkeys("abc", 0.0) for key in values}
    alone = paired(values, dict.fromkeys(values, 0.0))
    found = crossed(first, second)
    assert found is not None
    assert alone is not None
    assert found.estimate.half_width == pytest.approx(alone.estimate.half_width)
    assert found.p == pytest.approx(alone.p)
    assert crossed(first, first) == Difference(Estimate(0.0, 0.0, 3), None)
    assert crossed(first, {}) is None
    # With enough people, the interval covers the true mean of a crossed design about as often as it says.
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        table = random.normal(0, 2, (10, 1)) + random.normal(0, 3, (1, 20)) + random.normal(0, 5, (10, 20))
        drawn = {str(r): {str(p): float(table[r, p]) for p in range(20)} for r in range(10)}
        one = crossed(drawn, {r: dict.fromkeys(of, 0.0) for r, of in drawn.items()})
        assert one is not None
        covered += abs(one.estimate.mean) <= (one.estimate.half_width or 0)
    assert 0.93 <= covered / 400 <= 0.985
