"""Verification metrics against scikit-learn and against cases worked out by hand."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from facelab.metrics.verification import Roc, auc, best_threshold, eer, eer_threshold, roc, tar_at_far

# Few distinct values, so that ties within and between the two kinds of pairs are common.
scores = st.lists(st.integers(-4, 4), min_size=1, max_size=30)
weighted = st.lists(st.tuples(st.integers(-4, 4), st.floats(0.125, 8)), min_size=1, max_size=30)
repeated = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 3)), min_size=1, max_size=30).filter(
    lambda pairs: any(weight for _, weight in pairs)
)


def assert_same(found: Roc, expected: Roc) -> None:
    for name in ("far", "tar", "threshold"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-12)


def columns(pairs: Sequence[tuple[int, float]]) -> tuple[torch.Tensor, torch.Tensor]:
    values, weights = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    return values, weights


@given(weighted, weighted)
def test_curve_and_area_agree_with_scikit_learn(
    genuine: list[tuple[int, float]], impostor: list[tuple[int, float]]
) -> None:
    labels = np.array([1] * len(genuine) + [0] * len(impostor))
    values, weights = (np.array(column) for column in zip(*genuine, *impostor, strict=True))
    far, tar, threshold = roc_curve(labels, values, sample_weight=weights, drop_intermediate=False)
    (genuine_scores, genuine_weights), (impostor_scores, impostor_weights) = columns(genuine), columns(impostor)
    curve = roc(genuine_scores, impostor_scores, genuine_weights, impostor_weights)
    assert curve.far.numpy() == pytest.approx(far, abs=1e-12)
    assert curve.tar.numpy() == pytest.approx(tar, abs=1e-12)
    assert curve.threshold.numpy() == pytest.approx(threshold)
    assert auc(curve) == pytest.approx(roc_auc_score(labels, values, sample_weight=weights), abs=1e-12)


@given(scores, scores)
def test_area_is_the_chance_that_a_genuine_pair_scores_higher(genuine: list[int], impostor: list[int]) -> None:
    wins = [(g > i) + (g == i) / 2 for g in genuine for i in impostor]
    assert auc(roc(torch.tensor(genuine), torch.tensor(impostor))) == pytest.approx(sum(wins) / len(wins))


@given(scores, scores)
def test_every_point_holds_the_shares_accepted_at_its_threshold(genuine: list[int], impostor: list[int]) -> None:
    curve = roc(torch.tensor(genuine), torch.tensor(impostor))
    assert curve.threshold.tolist() == [math.inf, *sorted({*genuine, *impostor}, reverse=True)]
    for far, tar, threshold in zip(curve.far, curve.tar, curve.threshold, strict=True):
        assert float(far) == sum(score >= threshold for score in impostor) / len(impostor)
        assert float(tar) == sum(score >= threshold for score in genuine) / len(genuine)


def test_a_curve_with_ties_worked_out_by_hand() -> None:
    curve = roc(torch.tensor([0.9, 0.8, 0.5, 0.3]), torch.tensor([0.5, 0.5, 0.2, 0.1]))
    expected = Roc(
        far=torch.tensor([0, 0, 0, 0.5, 0.5, 0.75, 1], dtype=torch.float64),
        tar=torch.tensor([0, 0.25, 0.5, 0.75, 1, 1, 1], dtype=torch.float64),
        threshold=torch.tensor([math.inf, 0.9, 0.8, 0.5, 0.3, 0.2, 0.1]).double(),
    )
    assert_same(curve, expected)
    # Trapezoid from FAR 0 to 0.5 between TAR 0.5 and 0.75, then TAR 1.
    assert auc(curve) == pytest.approx(0.5 * 0.625 + 0.5)
    # FMR - FNMR goes from -0.5 at (0, 0.5) to 0.25 at (0.5, 0.75): equal after 2/3 of that step.
    assert eer(curve) == pytest.approx(1 / 3)
    assert tar_at_far(curve, 0) == 0.5
    assert tar_at_far(curve, 0.49) == 0.5
    assert tar_at_far(curve, 0.5) == 1
    assert tar_at_far(curve, 1) == 1


def test_a_weighted_curve_worked_out_by_hand() -> None:
    curve = roc(torch.tensor([2.0, 1.0]), torch.tensor([2.0, 0.0]), torch.tensor([3.0, 1.0]), torch.tensor([1.0, 3.0]))
    expected = Roc(
        far=torch.tensor([0, 0.25, 0.25, 1], dtype=torch.float64),
        tar=torch.tensor([0, 0.75, 1, 1], dtype=torch.float64),
        threshold=torch.tensor([math.inf, 2, 1, 0], dtype=torch.float64),
    )
    assert_same(curve, expected)
    assert eer(curve) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("genuine", "impostor", "area", "error"),
    [
        pytest.param([3, 2], [1, 0], 1, 0, id="separated"),
        pytest.param([1, 0], [3, 2], 0, 1, id="reversed"),
        pytest.param([5, 5, 5], [5, 5], 0.5, 0.5, id="all tied"),
        pytest.param([4, 2], [3, 1], 0.75, 0.5, id="interleaved"),
        # FMR = FNMR = 0.25 holds exactly at threshold 3.
        pytest.param([6, 5, 4, 1], [3, 2, 0, 0], 14 / 16, 0.25, id="equal at a point"),
    ],
)
def test_area_and_equal_error_rate_of_small_cases(
    genuine: list[int], impostor: list[int], area: float, error: float
) -> None:
    curve = roc(torch.tensor(genuine), torch.tensor(impostor))
    assert auc(curve) == pytest.approx(area)
    assert eer(curve) == pytest.approx(error)


@given(scores, scores)
def test_swapping_and_negating_the_scores_keeps_the_equal_error_rate(genuine: list[int], impostor: list[int]) -> None:
    swapped = roc(-torch.tensor(impostor), -torch.tensor(genuine))
    assert eer(roc(torch.tensor(genuine), torch.tensor(impostor))) == pytest.approx(eer(swapped))


@given(scores, scores)
def test_equal_error_rate_lies_on_the_curve_where_both_errors_are_equal(
    genuine: list[int], impostor: list[int]
) -> None:
    curve = roc(torch.tensor(genuine), torch.tensor(impostor))
    error = eer(curve)
    # The distance of (error, 1 - error) from each segment of the curve.
    far, tar = curve.far.numpy(), curve.tar.numpy()
    along, up = np.diff(far), np.diff(tar)
    step = np.clip(((error - far[:-1]) * along + (1 - error - tar[:-1]) * up) / (along**2 + up**2), 0, 1)
    gap = np.hypot(far[:-1] + step * along - error, tar[:-1] + step * up - (1 - error))
    assert gap.min() < 1e-9


@given(scores, scores)
def test_the_threshold_of_the_equal_error_rate_is_the_highest_where_as_many_impostors_err(
    genuine: list[int], impostor: list[int]
) -> None:
    def false_matches_prevail(threshold: float) -> bool:
        fmr = sum(score >= threshold for score in impostor) / len(impostor)
        return fmr >= sum(score < threshold for score in genuine) / len(genuine) - 1e-12

    found = eer_threshold(roc(torch.tensor(genuine), torch.tensor(impostor)))
    assert found == max(score for score in {*genuine, *impostor} if false_matches_prevail(score))


@given(scores, scores, st.floats(0, 1))
def test_tar_at_far_is_the_best_over_all_allowed_thresholds(
    genuine: list[int], impostor: list[int], allowed: float
) -> None:
    best = 0.0
    for threshold in {*genuine, *impostor}:
        if sum(score >= threshold for score in impostor) / len(impostor) <= allowed:
            best = max(best, sum(score >= threshold for score in genuine) / len(genuine))
    assert tar_at_far(roc(torch.tensor(genuine), torch.tensor(impostor)), allowed) == best


@pytest.mark.parametrize("count", [10, 1000, 6000])
def test_a_far_of_whole_pairs_is_met_exactly(count: int) -> None:
    # The scores alternate from a genuine one down, so k + 1 genuine pairs come before the impostor pair k + 1.
    impostor = torch.arange(count, 0, -1)
    genuine = impostor + 0.5
    curve = roc(genuine, impostor)
    for accepted in (0, 1, 3, count // 2, count - 1):
        assert tar_at_far(curve, accepted / count) == (accepted + 1) / count


@pytest.mark.parametrize(
    "transform",
    [torch.exp, torch.atan, lambda x: 3 * x - 7, lambda x: x**3],
    ids=["exponential", "arc tangent", "straight line", "cube"],
)
@given(genuine=scores, impostor=scores)
def test_rising_transforms_of_the_scores_change_only_the_thresholds(
    transform: Callable[[torch.Tensor], torch.Tensor], genuine: list[int], impostor: list[int]
) -> None:
    same, other = torch.tensor(genuine).double(), torch.tensor(impostor).double()
    curve, transformed = roc(same, other), roc(transform(same), transform(other))
    assert torch.equal(curve.far, transformed.far)
    assert torch.equal(curve.tar, transformed.tar)
    assert torch.equal(transform(curve.threshold[1:]), transformed.threshold[1:])


@given(repeated, repeated)
def test_whole_weights_count_as_repetitions(genuine: list[tuple[int, int]], impostor: list[tuple[int, int]]) -> None:
    (genuine_scores, genuine_weights), (impostor_scores, impostor_weights) = columns(genuine), columns(impostor)
    copied = roc(
        genuine_scores.repeat_interleave(genuine_weights.long()),
        impostor_scores.repeat_interleave(impostor_weights.long()),
    )
    assert_same(roc(genuine_scores, impostor_scores, genuine_weights, impostor_weights), copied)


def test_close_scores_in_single_precision_stay_apart() -> None:
    close = torch.tensor([0.5, 0.5 + 2**-24])
    assert auc(roc(close[1:], close[:1])) == 1


def test_pairs_that_could_not_be_compared_are_accepted_last() -> None:
    curve = roc(torch.tensor([1.0, -math.inf]), torch.tensor([0.0]))
    assert curve.tar.tolist() == [0, 0.5, 0.5, 1]
    assert tar_at_far(curve, 0) == 0.5


ONE, NONE, NAN = torch.ones(1), torch.ones(0), torch.tensor([math.nan])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param((NONE, ONE), "no genuine pairs", id="no genuine"),
        pytest.param((ONE, NONE), "no impostor pairs", id="no impostor"),
        pytest.param((NAN, ONE), "genuine scores must not be NaN", id="genuine NaN"),
        pytest.param((ONE, NAN), "impostor scores must not be NaN", id="impostor NaN"),
        pytest.param((ONE, ONE * math.inf), "impostor scores", id="plus infinity"),
        pytest.param((ONE, ONE, ONE * 0), "no genuine pairs", id="genuine weights all 0"),
        pytest.param((ONE, ONE, ONE, ONE * 0), "no impostor pairs", id="impostor weights all 0"),
        pytest.param((ONE, ONE, -ONE), "genuine weights", id="negative weight"),
        pytest.param((ONE, ONE, None, NAN), "impostor weights", id="NaN weight"),
        pytest.param((ONE, ONE, torch.ones(2)), r"genuine .*\[1\] and \[2\]", id="too many weights"),
        pytest.param((ONE[None], ONE), "vectors", id="a matrix"),
    ],
)
def test_what_has_no_curve_is_refused(arguments: tuple[torch.Tensor, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        roc(*arguments)


@pytest.mark.parametrize("far", [-0.1, 1.1, math.nan])
def test_a_far_that_is_no_share_is_refused(far: float) -> None:
    with pytest.raises(ValueError, match="far must be in"):
        tar_at_far(roc(ONE, ONE), far)


@given(scores, scores)
def test_no_threshold_is_better_than_the_best(genuine: list[int], impostor: list[int]) -> None:
    def accuracy(threshold: float) -> float:
        right = [np.mean([score >= threshold for score in genuine]), np.mean([score < threshold for score in impostor])]
        return float(np.mean(right))

    found = best_threshold(roc(torch.tensor(genuine), torch.tensor(impostor)))
    tried = [*genuine, *impostor, max(*genuine, *impostor) + 1]
    assert accuracy(found) == pytest.approx(max(map(accuracy, tried)))


def test_the_best_threshold_lies_midway_between_scores() -> None:
    assert best_threshold(roc(torch.tensor([4.0, 3.0]), torch.tensor([1.0, 0.0]))) == 2
    assert best_threshold(roc(torch.tensor([1.0]), torch.tensor([5.0]))) in (6, 1)  # accepts nothing, or everything


def test_the_best_threshold_is_finite_where_pairs_could_not_be_compared() -> None:
    none = -math.inf
    assert best_threshold(roc(torch.tensor([0.9, 0.8]), torch.tensor([none, none]))) == pytest.approx(0.8)
