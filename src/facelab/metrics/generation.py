"""Metrics of generated images in feature space: distance from real images, diversity, and data copying."""

import math

import torch
from torch import Tensor

# Rows compared with a whole set at once, and distances, to bound memory: 128 MiB.
_ROWS = 1024
_DISTANCES = 2**24


def kernel_distance(real: Tensor, generated: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with the polynomial kernel (x.y / D + 1)^3.

    Binkowski et al., "Demystifying MMD GANs", 2018: the estimator of equation 4 and the kernel of section 4. With
    Inception features, this is the kernel inception distance (KID).

    Args:
        real: (N, D) float features, N at least 2.
        generated: (M, D) float features, M at least 2.

    Returns:
        The distance, in expectation 0 if both sets come from the same distribution; it can be negative.

    Raises:
        ValueError: a set has too few rows or features that are not finite, or the widths differ.
    """
    real, generated = _checked(real, generated, rows=2)

    def within(features: Tensor) -> float:
        """Mean kernel of all pairs of different rows."""
        diagonal = float(_kernel(features.square().sum(1), features.shape[1]).sum())
        return (_kernel_sum(features, features) - diagonal) / (len(features) * (len(features) - 1))

    between = _kernel_sum(real, generated) / (len(real) * len(generated))
    return within(real) + within(generated) - 2 * between


def kernel_distance_subsets(
    real: Tensor, generated: Tensor, subsets: int, subset_size: int, seed: int
) -> tuple[float, float]:
    """Mean and standard deviation of `kernel_distance` over random subsets, as in Binkowski et al., 2018.

    Args:
        real: (N, D) float features, N at least 2.
        generated: (M, D) float features, M at least 2.
        subsets: number of pairs of subsets, at least 1.
        subset_size: rows drawn from each set for every pair, without replacement, at least 2, capped at the size of the
            smaller set.
        seed: seed of the draws; equal seeds and set sizes give equal subsets.

    Returns:
        Mean, and standard deviation (divided by the number of subsets, as in NumPy). The subsets share rows, so the
        standard deviation over the root of their number is not the standard error of the mean.

    Raises:
        ValueError: `subsets` or `subset_size` is too small, or as in `kernel_distance`.
    """
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"expected at least 1 subset of at least 2 rows, got {subsets} of {subset_size}")
    real, generated = _checked(real, generated, rows=2)
    size = min(subset_size, len(real), len(generated))
    generator = torch.Generator().manual_seed(seed)

    def subset(features: Tensor) -> Tensor:
        rows = torch.randperm(len(features), generator=generator)[:size]
        return features[rows.to(features.device)]

    values = [kernel_distance(subset(real), subset(generated)) for _ in range(subsets)]
    distances = torch.tensor(values, dtype=torch.float64)
    return float(distances.mean()), float(distances.std(correction=0))


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Frechet distance between Gaussians with the means and covariances of the two sets.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017,
    equation 6. With Inception features, this is the FID. Small sets give larger values than large ones, so compare sets
    of equal sizes.

    Args:
        first: (N, D) float features, N at least 2; fewer than D are allowed.
        second: (M, D) float features, M at least 2.

    Returns:
        The distance, at least 0, in squared units of the features.

    Raises:
        ValueError: a set has too few rows or features that are not finite, or the widths differ.
    """
    first, second = _checked(first, second, rows=2)
    shift = (first.mean(0) - second.mean(0)).square().sum()
    root, other = _covariance_root(first), _covariance_root(second)
    # Tr((S1 S2)^1/2) is the sum of the singular values of R1 R2^T where S = R^T R.
    shared = torch.linalg.svdvals(root @ other.T).sum()
    return float((shift + root.square().sum() + other.square().sum() - 2 * shared).clamp_min(0))


def precision_recall(real: Tensor, generated: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Precision, the share of realistic generated features, and recall, the share of real features that are covered.

    Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", 2019, equations 1
    and 2. The manifold of a set is the union of balls around its rows, with the distance to the k-th nearest other row
    as radius.

    Args:
        real: (N, D) float features, N above `neighbours`.
        generated: (M, D) float features, M above `neighbours`.
        neighbours: k, at least 1; 3 in the paper.

    Returns:
        Precision and recall, each in [0, 1].

    Raises:
        ValueError: `neighbours` is below 1, a set has too few rows or features that are not finite, or the widths
            differ.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    real, generated = _checked(real, generated, rows=neighbours + 1)
    return _share_inside(generated, real, neighbours), _share_inside(real, generated, neighbours)


def nearest(queries: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest reference of every query.

    Args:
        queries: (N, D) float features, N at least 1.
        references: (M, D) float features, M at least 1.

    Returns:
        Euclidean distance (N,) float64, exactly 0 for a copy, and index (N,) int64 in [0, M), any one of
        equally near references.

    Raises:
        ValueError: a set has no rows or features that are not finite, or the widths differ.
    """
    queries, references = _checked(queries, references, rows=1)
    at_once = max(1, min(_ROWS, _DISTANCES // len(references)))
    distances, indices = zip(
        *(_distances(rows, references).min(1) for rows in torch.split(queries, at_once)), strict=True
    )
    return torch.cat(distances), torch.cat(indices)


def copy_statistic(generated_to_training: Tensor, held_out_to_training: Tensor) -> float:
    """Mann-Whitney z-score of distances to the training images: generated samples against unseen real images.

    Meehan, Chaudhuri and Dasgupta, "A Non-Parametric Test to Detect Data-Copying in Generative Models", 2020: their
    Z_U over the whole space, without the partition into cells. Ties get midranks, and the variance is corrected for
    them.

    Args:
        generated_to_training: (M,) distances of generated samples to their nearest training image, M at least 1.
        held_out_to_training: (N,) distances of unseen real images to their nearest training image, N at least 1.

    Returns:
        The score, negative if generated samples lie closer to the training images than unseen real images do, which
        indicates copying. About standard normal if both sets of distances come from the same distribution; 0 if all
        distances are equal.

    Raises:
        ValueError: there are no distances of one kind, or a distance is NaN.
    """
    if generated_to_training.ndim != 1 or held_out_to_training.ndim != 1:
        raise ValueError("distances must be vectors")
    first, second = len(generated_to_training), len(held_out_to_training)
    if min(first, second) < 1:
        raise ValueError(f"expected distances of both kinds, got {first} generated and {second} held out")
    distances = torch.cat([generated_to_training.double(), held_out_to_training.double()])
    if distances.isnan().any():
        raise ValueError("distances must not be NaN")
    _, place, tied = torch.unique(distances, return_inverse=True, return_counts=True)
    tied = tied.double()
    midranks = tied.cumsum(0) - (tied - 1) / 2
    wins = midranks[place[:first]].sum() - first * (first + 1) / 2
    total = first + second
    spread = total + 1 - (tied**3 - tied).sum() / (total * (total - 1))
    variance = first * second / 12 * spread
    return float((wins - first * second / 2) / variance.sqrt()) if len(tied) > 1 else 0.0


def _checked(first: Tensor, second: Tensor, *, rows: int) -> tuple[Tensor, Tensor]:
    """Validate both sets and convert them to float64."""
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features must be (N, D) with equal D, got {[*first.shape]} and {[*second.shape]}")
    if min(len(first), len(second)) < rows:
        raise ValueError(f"expected at least {rows} rows in each set, got {len(first)} and {len(second)}")
    if not (first.isfinite().all() and second.isfinite().all()):
        raise ValueError("features must be finite")
    return first.double(), second.double()


def _kernel(products: Tensor, width: int) -> Tensor:
    return (products / width + 1) ** 3


def _kernel_sum(first: Tensor, second: Tensor) -> float:
    return math.fsum(float(_kernel(rows @ second.T, second.shape[1]).sum()) for rows in torch.split(first, _ROWS))


def _covariance_root(features: Tensor) -> Tensor:
    """R, (min(N, D), D), such that R^T R is the sample covariance with divisor N - 1."""
    centred = features - features.mean(0)
    triangle: Tensor = torch.linalg.qr(centred, mode="r").R
    return triangle / math.sqrt(len(features) - 1)


def _distances(rows: Tensor, references: Tensor) -> Tensor:
    """Euclidean distances (N, M), symmetric and exactly 0 between equal rows."""
    # The faster computation by matrix products gives about 1e-8 between equal rows.
    return torch.cdist(rows, references, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(features: Tensor, neighbours: int) -> Tensor:
    """Distance (N,) of every row to its k-th nearest other row."""
    # A row's distance 0 to itself is its smallest, so the k-th among the others is the (k + 1)-th of all.
    return torch.cat(
        [_distances(rows, features).kthvalue(neighbours + 1).values for rows in torch.split(features, _ROWS)]
    )


def _share_inside(queries: Tensor, features: Tensor, neighbours: int) -> float:
    """Share of the queries that lie in the ball of at least one row of `features`."""
    radii = _radii(features, neighbours)
    inside = [(_distances(rows, features) <= radii).any(1) for rows in torch.split(queries, _ROWS)]
    return float(torch.cat(inside).double().mean())
