"""Identification against its definitions, search by search, and a case by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facelab.metrics.identification import (
    cmc,
    fnir,
    fpir,
    identified,
    mated_ranks,
    open_set_curve,
    threshold_at_fpir,
)

TIED = st.integers(0, 6).map(lambda number: number / 4)  # few values, so that scores are tied


def test_ranks_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.3, 0.8, 0.8], [0.4, 0.4, 0.4]])
    ranks = mated_ranks(scores, torch.tensor([0, 2, 1, 0]))
    assert ranks.tolist() == [1, 3, 2, 3]  # of equal scores the right person comes last
    assert cmc(ranks, 3).tolist() == [0.25, 0.5, 1.0]


def test_a_score_that_is_no_number_finds_nobody() -> None:
    assert mated_ranks(torch.full((1, 3), torch.nan), torch.tensor([0])).tolist() == [3]


def test_open_set_by_hand() -> None:
    best = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9])
    own, ranks = torch.tensor([0.95, 0.85, 0.65, 0.99]), torch.tensor([1, 1, 1, 2])
    threshold = threshold_at_fpir(best, 0.2)
    assert threshold == pytest.approx(0.7)  # just above 0.7: 0.8 and 0.9 are returned
    assert fpir(best, threshold) == 0.2
    assert identified(own, ranks, threshold).tolist() == [True, True, False, False]
    assert fnir(own, ranks, threshold) == 0.5
    assert fpir(best, threshold_at_fpir(best, 0.55)) == 0.4  # two are tied: accepting both would give 0.6
    assert fpir(best, threshold_at_fpir(best, 0.0)) == 0
    with pytest.raises(ValueError, match="fpir must be in"):
        threshold_at_fpir(best, 1.0)


@given(
    st.lists(st.tuples(TIED, st.integers(1, 3)), min_size=1, max_size=12),
    st.lists(TIED, min_size=1, max_size=12),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]),
)
def test_open_set_is_the_best_of_all_thresholds(
    mated: list[tuple[float, int]], best: list[float], target: float
) -> None:
    own, ranks = (torch.tensor(values) for values in zip(*mated, strict=True))
    points = []
    for threshold in sorted({*own.tolist(), *best, 100.0}):
        false = sum(score >= threshold for score in best) / len(best)
        missed = sum(rank > 1 or score < threshold for score, rank in mated) / len(mated)
        points.append((false, missed))
    expected = min(missed for false, missed in points if false <= target)
    scores = torch.tensor(best)
    assert fnir(own, ranks, threshold_at_fpir(scores, target)) == pytest.approx(expected)
    curve = open_set_curve(own, ranks, scores)
    for reached, missed in zip(curve.fpir.tolist(), curve.fnir.tolist(), strict=True):
        assert missed == pytest.approx(min(m for false, m in points if false <= reached + 1e-12))
