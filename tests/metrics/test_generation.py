"""Metrics of generated pictures against plain loops, SciPy, torchmetrics and closed forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from facelab.metrics.generation import (
    copy_statistic,
    frechet_distance,
    kernel_distance,
    kernel_distance_subsets,
    nearest,
    precision_recall,
)

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 9)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def looped_kernel_distance(real: Tensor, generated: Tensor) -> float:
    def kernel(x: list[float], y: list[float]) -> float:
        return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values)

    def within(rows: list[list[float]]) -> float:
        return mean([kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j])

    first, second = real.tolist(), generated.tolist()
    return within(first) + within(second) - 2 * mean([kernel(x, y) for x in first for y in second])


@given(seeds, sizes, sizes, st.integers(1, 6))
def test_kernel_distance_agrees_with_a_plain_loop(seed: int, real: int, generated: int, width: int) -> None:
    first, second = drawn(seed, real, width), drawn(seed + 1, generated, width) + 0.5
    assert kernel_distance(first, second) == pytest.approx(looped_kernel_distance(first, second), rel=1e-9, abs=1e-9)


def test_kernel_distance_worked_out_by_hand() -> None:
    real, generated = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    # D = 2. Among the real 1^3, among the generated 1^3, between them 2^3, 1^3, 2^3, 1^3.
    assert kernel_distance(real, generated) == pytest.approx(1 + 1 - 2 * (8 + 1 + 8 + 1) / 4)


@pytest.mark.parametrize("rows", [30, 1500])
def test_kernel_distance_agrees_with_torchmetrics(rows: int) -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    real, generated = drawn(1, rows, 16), drawn(2, rows, 16) * 1.2 + 0.1
    assert kernel_distance(real, generated) == pytest.approx(float(kid.poly_mmd(real, generated)), rel=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    distances = np.array([kernel_distance(drawn(2 * i, 6, 4), drawn(2 * i + 1, 9, 4)) for i in range(2000)])
    error = distances.std() / math.sqrt(len(distances))
    assert abs(distances.mean()) < 4 * error
    assert distances.min() < 0
    # Were each row counted as its own pair, the mean would rise by E[k(x, x) - k(x, y)] (1/6 + 1/9).
    same = (drawn(9, 10000, 4).square().sum(1) / 4 + 1) ** 3
    # E[(x.y / 4 + 1)^3] = 1 + 3 E[(x.y / 4)^2] = 1 + 3 / 4.
    assert float(same.mean() - 1.75) * (1 / 6 + 1 / 9) > 20 * error


def test_subsets_average_over_all_subsets_of_a_size() -> None:
    real, generated = drawn(1, 3, 2), drawn(2, 4, 2) + 1
    pairs = [
        looped_kernel_distance(real[list(first)], generated[list(second)])
        for first in ((0, 1), (0, 2), (1, 2))
        for second in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    ]
    mean, spread = kernel_distance_subsets(real, generated, subsets=3000, subset_size=2, seed=0)
    assert mean == pytest.approx(np.mean(pairs), abs=4 * float(np.std(pairs)) / math.sqrt(3000))
    assert spread == pytest.approx(np.std(pairs), rel=0.1)


def test_subsets_of_the_whole_set_are_all_alike() -> None:
    real, generated = drawn(1, 12, 3), drawn(2, 12, 3) + 1
    mean, spread = kernel_distance_subsets(real, generated, subsets=5, subset_size=100, seed=3)
    assert mean == pytest.approx(looped_kernel_distance(real, generated), rel=1e-12)
    assert spread == pytest.approx(0, abs=1e-12)


def test_the_size_of_both_subsets_is_capped_at_the_smaller_set() -> None:
    real, generated = drawn(1, 5, 2), torch.cat([drawn(2, 5, 2), drawn(3, 1, 2) * 50])
    six_choose_five = [
        looped_kernel_distance(real, generated[[row for row in range(6) if row != left_out]]) for left_out in range(6)
    ]
    for seed in range(10):
        for first, second in ((real, generated), (generated, real)):
            found, spread = kernel_distance_subsets(first, second, subsets=1, subset_size=6, seed=seed)
            assert min(abs(found - value) for value in six_choose_five) < 1e-9 * max(six_choose_five)
            assert spread == 0


def test_the_seed_decides_the_subsets() -> None:
    real, generated = drawn(1, 20, 3), drawn(2, 20, 3)
    torch.manual_seed(0)
    first = kernel_distance_subsets(real, generated, subsets=4, subset_size=5, seed=1)
    assert kernel_distance_subsets(real, generated, subsets=4, subset_size=5, seed=1) == first
    assert kernel_distance_subsets(real, generated, subsets=4, subset_size=5, seed=2) != first
    untouched = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), untouched)


@given(seeds, st.integers(1, 6))
def test_frechet_distance_agrees_with_a_matrix_root(seed: int, width: int) -> None:
    first, second = drawn(seed, 20, width), drawn(seed + 1, 30, width) @ drawn(seed + 2, width, width) + 1
    covariance, other = (np.atleast_2d(np.cov(features.numpy().T)) for features in (first, second))
    root = scipy.linalg.sqrtm(covariance @ other).real
    spread = first.var(0).sum() + second.var(0).sum() - 2 * np.trace(root)
    expected = (first.mean(0) - second.mean(0)).square().sum() + spread
    assert frechet_distance(first, second) == pytest.approx(float(expected), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("rows", "width"), [(200, 8), (10, 64), (2, 5)])
def test_frechet_distance_of_a_shifted_and_stretched_set(rows: int, width: int) -> None:
    features, shift = drawn(1, rows, width), drawn(2, width)
    squared = float(shift.square().sum())
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(features, features + shift) == pytest.approx(squared, rel=1e-9)
    # Covariances S and 9 S: the trace of S + 9 S - 2 * 3 S.
    centred = features - features.mean(0)
    assert frechet_distance(centred, 3 * centred + shift) == pytest.approx(
        squared + 4 * float(features.var(0).sum()), rel=1e-9
    )


@pytest.mark.parametrize(("first", "second"), [(10, 10), (5, 40), (40, 5), (30, 200)])
def test_frechet_distance_of_fewer_rows_than_features(first: int, second: int) -> None:
    one, two = drawn(1, first, 64), drawn(2, second, 64) * 2 + 1

    def factor(features: Tensor) -> np.ndarray:
        return ((features - features.mean(0)) / math.sqrt(len(features) - 1)).numpy()

    # With S = A'A for each set, the trace of the root of S1 S2 is the sum of the singular values of A1 A2'.
    shared = np.linalg.svd(factor(one) @ factor(two).T, compute_uv=False).sum()
    spread = (factor(one) ** 2).sum() + (factor(two) ** 2).sum() - 2 * shared
    expected = float((one.mean(0) - two.mean(0)).square().sum()) + spread
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-11)
    assert frechet_distance(two, one) == pytest.approx(expected, rel=1e-11)


def test_frechet_distance_of_repeated_rows() -> None:
    # 100 rows that span 4 directions of 64.
    features, shift = drawn(1, 5, 64).repeat(20, 1), drawn(2, 64)
    squared = float(shift.square().sum())
    assert frechet_distance(features, features + shift) == pytest.approx(squared, rel=1e-6)


def test_frechet_distance_is_not_below_0() -> None:
    for seed in range(20):
        features = drawn(seed, 50, 20)
        assert 0 <= frechet_distance(features, features) < 1e-10


def test_frechet_distance_of_gaussians_with_equal_axes() -> None:
    scales, others = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 0.5, 1.0])
    # The rows +a and -a along each axis, 6 in all, have variance 2 a^2 / 5 there and no covariance.
    first, second = (torch.cat([torch.diag(axes), -torch.diag(axes)]) for axes in (scales, others))
    assert frechet_distance(first, second) == pytest.approx(0.4 * float((scales - others).square().sum()))


def distance(x: list[float], y: list[float]) -> float:
    return math.dist(x, y)


def looped_share_inside(queries: list[list[float]], features: list[list[float]], neighbours: int) -> float:
    radii = [
        sorted(distance(x, y) for j, y in enumerate(features) if j != i)[neighbours - 1] for i, x in enumerate(features)
    ]
    inside = [any(distance(q, x) <= r for x, r in zip(features, radii, strict=True)) for q in queries]
    return sum(inside) / len(inside)


@given(seeds, st.integers(5, 15), st.integers(5, 15), st.integers(1, 4))
def test_precision_and_recall_agree_with_a_plain_loop(seed: int, real: int, generated: int, neighbours: int) -> None:
    first, second = drawn(seed, real, 3), drawn(seed + 1, generated, 3) + 1
    expected = tuple(
        looped_share_inside(queries.tolist(), features.tolist(), neighbours)
        for queries, features in ((second, first), (first, second))
    )
    assert precision_recall(first, second, neighbours) == pytest.approx(expected)


def test_three_neighbours_are_counted_unless_said_otherwise() -> None:
    # The third neighbour of 0 is 4, so its ball, the widest to the left, reaches to -4.
    real = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
    assert precision_recall(real, torch.tensor([[-4.0], [-4.5], [-5.0], [-6.0]]))[0] == 0.25
    assert precision_recall(real, torch.tensor([[-2.0], [-4.0], [-5.0], [-6.0]]), 2)[0] == 0.25


def test_precision_and_recall_of_sets_that_are_equal_apart_or_only_partly_covered() -> None:
    features = drawn(1, 40, 6)
    assert precision_recall(features, features.flip(0)) == (1, 1)
    assert precision_recall(features, features + 100) == (0, 0)
    two_clusters = torch.cat([features, features + 100])
    assert precision_recall(two_clusters, features) == (1, 0.5)
    assert precision_recall(features, two_clusters) == (0.5, 1)


def test_a_row_is_no_neighbour_of_itself_but_of_its_copies() -> None:
    points = torch.tensor([[0.0], [10.0], [21.0]])
    # First neighbours lie 10, 10 and 11 away: the balls cover -10 to 32.
    assert precision_recall(points, torch.tensor([[-10.0], [32.0], [32.5]]), 1)[0] == pytest.approx(2 / 3)
    copies = points.repeat(2, 1)
    assert precision_recall(copies, torch.tensor([[0.0], [21.0], [22.0], [1.0]]), 1)[0] == 0.5


def test_large_sets_are_compared_whole() -> None:
    # A line of points 1 apart: with one neighbour every ball reaches to the next point, so gaps show lost rows.
    line = torch.arange(2500)[:, None].double()
    assert precision_recall(line, line + 0.5, 1) == (1, 1)
    order = torch.randperm(2500, generator=torch.Generator().manual_seed(0))
    distances, indices = nearest(line[order] + 0.25, line)
    assert torch.equal(indices, order)
    assert torch.equal(distances, torch.full((2500,), 0.25, dtype=torch.float64))


@given(seeds, st.integers(1, 12), st.integers(1, 12))
def test_nearest_agrees_with_a_plain_loop(seed: int, queries: int, references: int) -> None:
    first, second = drawn(seed, queries, 4), drawn(seed + 1, references, 4)
    distances, indices = nearest(first, second)
    every = [[distance(x, y) for y in second.tolist()] for x in first.tolist()]
    assert distances.tolist() == pytest.approx([min(row) for row in every])
    assert indices.tolist() == [row.index(min(row)) for row in every]
    assert (distances.dtype, indices.dtype) == (torch.float64, torch.int64)


def test_copies_are_exactly_0_away() -> None:
    training = drawn(1, 60, 512).float() + 100
    picked = torch.tensor([41, 0, 59, 7])
    distances, indices = nearest(training[picked], training)
    assert distances.tolist() == [0, 0, 0, 0]
    assert torch.equal(indices, picked)


distances_to_training = st.lists(st.integers(0, 6), min_size=1, max_size=40)


@given(distances_to_training, distances_to_training)
def test_copy_statistic_agrees_with_scipy(generated: list[int], held_out: list[int]) -> None:
    z = copy_statistic(torch.tensor(generated), torch.tensor(held_out))
    if len({*generated, *held_out}) == 1:
        assert z == 0
    else:
        expected = scipy.stats.mannwhitneyu(
            generated, held_out, alternative="less", method="asymptotic", use_continuity=False
        )
        assert scipy.stats.norm.cdf(z) == pytest.approx(expected.pvalue, rel=1e-9)


def test_copy_statistic_worked_out_by_hand() -> None:
    # U = 0 of 4, mean 2, variance 2 * 2 * 5 / 12.
    assert copy_statistic(torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4])) == pytest.approx(-2 / math.sqrt(5 / 3))
    # 1 ties with 1: U = 0.5 of 2, mean 1, variance 2 / 12 * (4 - 6 / 6).
    assert copy_statistic(torch.tensor([1.0]), torch.tensor([1.0, 2.0])) == pytest.approx(-0.5 / math.sqrt(0.5))


def test_copy_statistic_is_standard_normal_under_equal_distributions() -> None:
    # Distances rounded to a grid, so that the variance must be corrected for ties.
    values = [
        copy_statistic((drawn(2 * i, 40).abs() * 2).round(), (drawn(2 * i + 1, 60).abs() * 2).round())
        for i in range(2000)
    ]
    assert np.mean(values) == pytest.approx(0, abs=4 / math.sqrt(2000))
    assert np.std(values) == pytest.approx(1, abs=4 / math.sqrt(2 * 2000))


def test_a_generator_that_copies_is_told_from_one_that_does_not() -> None:
    training, held_out = drawn(1, 300, 8), drawn(2, 200, 8)
    to_training = nearest(held_out, training)[0]
    copies = nearest(training[:100] + 0.1 * drawn(3, 100, 8), training)[0]
    assert copy_statistic(copies, to_training) < -8
    assert abs(copy_statistic(nearest(drawn(4, 100, 8), training)[0], to_training)) < 4
    assert copy_statistic(nearest(drawn(5, 100, 8) * 3, training)[0], to_training) > 8


def subsets_of_two(real: Tensor, generated: Tensor) -> tuple[float, float]:
    return kernel_distance_subsets(real, generated, subsets=1, subset_size=2, seed=0)


@pytest.mark.parametrize(
    ("metric", "rows"),
    [(kernel_distance, 2), (subsets_of_two, 2), (frechet_distance, 2), (precision_recall, 4), (nearest, 1)],
)
def test_sets_that_cannot_be_compared_are_refused(metric: Callable[[Tensor, Tensor], object], rows: int) -> None:
    enough, too_few = torch.ones(rows, 3), torch.ones(rows - 1, 3)
    metric(enough, enough)
    for arguments in ((too_few, enough), (enough, too_few)):
        with pytest.raises(ValueError, match=f"at least {rows} rows"):
            metric(*arguments)
    for wrong in (torch.ones(rows, 4), torch.ones(rows), torch.ones(1, rows, 3)):
        with pytest.raises(ValueError, match=r"\(N, D\)"):
            metric(enough, wrong)
    for value in (math.nan, math.inf):
        for arguments in ((enough * value, enough), (enough, enough * value)):
            with pytest.raises(ValueError, match="finite"):
                metric(*arguments)


@pytest.mark.parametrize(("subsets", "subset_size"), [(0, 5), (3, 1)])
def test_subsets_too_few_or_too_small_are_refused(subsets: int, subset_size: int) -> None:
    with pytest.raises(ValueError, match="at least 1 subset of at least 2 rows"):
        kernel_distance_subsets(torch.ones(5, 2), torch.ones(5, 2), subsets, subset_size, seed=0)


def test_no_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="neighbours"):
        precision_recall(torch.ones(5, 2), torch.ones(5, 2), 0)


SOME, NONE = torch.ones(3), torch.ones(0)


@pytest.mark.parametrize(
    ("generated", "held_out", "message"),
    [
        pytest.param(NONE, SOME, "both kinds", id="none generated"),
        pytest.param(SOME, NONE, "both kinds", id="none held out"),
        pytest.param(SOME * math.nan, SOME, "NaN", id="NaN"),
        pytest.param(SOME, SOME[None], "vectors", id="a matrix"),
    ],
)
def test_distances_that_cannot_be_ranked_are_refused(generated: Tensor, held_out: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        copy_statistic(generated, held_out)
