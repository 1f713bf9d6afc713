"""ROC curves and error rates of face verification."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Roc:
    """ROC curve: operating points from the one that accepts no pair to the one that accepts every pair.

    A pair is accepted if its score is at least the threshold. FMR is `far`, FNMR is 1 - `tar`.

    Attributes:
        far: (P,) float64 in [0, 1], ascending from 0 to 1: share of impostor pairs that are accepted.
        tar: (P,) float64 in [0, 1], ascending from 0 to 1: share of genuine pairs that are accepted.
        threshold: (P,) float64, strictly descending from infinity, in the unit of the scores.
    """

    far: Tensor
    tar: Tensor
    threshold: Tensor


def roc(
    genuine: Tensor,
    impostor: Tensor,
    genuine_weights: Tensor | None = None,
    impostor_weights: Tensor | None = None,
) -> Roc:
    """Compute the ROC curve, with one operating point per distinct score after the one that accepts no pair.

    Pairs with equal scores are accepted together, so a tie between a genuine and an impostor pair moves `far` and
    `tar` in one step. A pair with weight 0 counts as absent.

    Args:
        genuine: (G,) scores of pairs of one person, higher for more similar images; minus infinity for a pair that
            could not be compared.
        impostor: (I,) scores of pairs of two persons.
        genuine_weights: (G,) non-negative: how often each pair counts in a resample; None for once.
        impostor_weights: (I,) likewise.

    Returns:
        The curve, with at most 1 + G + I points.

    Raises:
        ValueError: there are no genuine or no impostor pairs of positive weight, a score is NaN or plus infinity, or
            the weights are negative, not finite, or differ in shape from the scores.
    """
    genuine, weight_genuine = _present(genuine, genuine_weights, "genuine")
    impostor, weight_impostor = _present(impostor, impostor_weights, "impostor")
    ascending, place = torch.unique(torch.cat([genuine, impostor]), return_inverse=True)
    place_genuine, place_impostor = torch.split(place, [len(genuine), len(impostor)])

    def accepted(places: Tensor, weights: Tensor) -> Tensor:
        per_score = torch.zeros_like(ascending).index_add_(0, places, weights)
        total = torch.cat([per_score.new_zeros(1), per_score.flip(0).cumsum(0)])
        return total / total[-1]

    return Roc(
        far=accepted(place_impostor, weight_impostor),
        tar=accepted(place_genuine, weight_genuine),
        threshold=torch.cat([ascending.new_full((1,), math.inf), ascending.flip(0)]),
    )


def auc(curve: Roc) -> float:
    """Area under the curve by the trapezoidal rule, in [0, 1].

    It is the probability that a genuine pair scores above an impostor pair; ties count half.
    """
    return float(torch.trapezoid(curve.tar, curve.far))


def eer(curve: Roc) -> float:
    """Equal error rate in [0, 1]: the FMR that equals the FNMR, by linear interpolation between operating points."""
    excess, after = _crossing(curve)
    step = excess[after - 1] / (excess[after - 1] - excess[after])
    return float(torch.lerp(curve.far[after - 1], curve.far[after], step))


def eer_threshold(curve: Roc) -> float:
    """Highest threshold at which the FMR is at least the FNMR: the operating point at or after the EER."""
    return float(curve.threshold[_crossing(curve)[1]])


def tar_at_far(curve: Roc, far: float) -> float:
    """Highest TAR of the operating points whose FAR does not exceed `far`, without interpolation.

    This is 1 - FNMR at FMR, as NIST's face recognition evaluations report it.

    Args:
        curve: the operating points.
        far: maximum FAR, in [0, 1]. Below 1 / (number of impostor pairs), no impostor pair may be accepted.

    Returns:
        TAR in [0, 1].

    Raises:
        ValueError: `far` is outside [0, 1].
    """
    if not 0 <= far <= 1:
        raise ValueError(f"far must be in [0, 1], got {far}")
    return float(curve.tar[curve.far <= far].max())


def best_threshold(curve: Roc) -> float:
    """Threshold with the highest balanced accuracy, (TAR + 1 - FAR) / 2.

    It lies midway between the lowest score that is accepted and the next lower one, so that it does not depend on which
    of them is a test score. Of several best operating points, the middle one counts.

    Args:
        curve: the operating points.
    """
    gain = curve.tar - curve.far
    best = (gain >= gain.max() - 1e-12).nonzero()[:, 0]
    place = int(best[len(best) // 2])
    above = curve.threshold[max(place, 1)]
    below = curve.threshold[min(place + 1, len(gain) - 1)]
    if not place:
        return float(above + 1)
    return float(above if below == -math.inf else (above + below) / 2)  # a pair at -inf could not be compared


def _crossing(curve: Roc) -> tuple[Tensor, int]:
    """FNMR minus FMR (P,), descending from 1 to -1, and the first operating point where it is not above 0."""
    excess = 1 - curve.tar - curve.far
    return excess, int((excess <= 1e-12).nonzero()[0])  # equal shares differ by rounding


def _present(scores: Tensor, weights: Tensor | None, kind: str) -> tuple[Tensor, Tensor]:
    """Validated scores and weights (K,) float64 of the pairs with positive weight."""
    scores = scores.double()
    weights = torch.ones_like(scores) if weights is None else weights.double()
    if scores.ndim != 1 or weights.shape != scores.shape:
        raise ValueError(
            f"{kind} scores and weights must be vectors of equal length, got {[*scores.shape]} and {[*weights.shape]}"
        )
    if not (scores < math.inf).all():
        raise ValueError(f"{kind} scores must not be NaN or plus infinity")
    if not ((weights >= 0) & (weights < math.inf)).all():
        raise ValueError(f"{kind} weights must be finite and non-negative")
    present = weights > 0
    if not present.any():
        raise ValueError(f"there are no {kind} pairs of positive weight")
    return scores[present], weights[present]
