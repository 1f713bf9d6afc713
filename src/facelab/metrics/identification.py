"""Ranks and error rates of face identification: searches of a gallery of enrolled people.

A search is mated if its person is enrolled, and non-mated otherwise. Scores are higher for more similar faces. Terms
and definitions are those of ISO/IEC 19795-1:2021 and of NIST's FRTE 1:N.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def mated_ranks(scores: Tensor, mates: Tensor) -> Tensor:
    """Rank of the right person in each mated search, from 1.

    Ties are pessimistic: of equal scores the right person comes last, so a model that gives every pair the same score
    has rank-1 rate 0.

    Args:
        scores: (N, G) of N searches with G enrolled people; NaN counts as above all others.
        mates: (N,) int64 in [0, G), the right person.

    Returns:
        (N,) int64 in [1, G].
    """
    own = scores.gather(1, mates[:, None])
    return (~(scores < own)).sum(dim=1)


def cmc(ranks: Tensor, enrolled: int) -> Tensor:
    """Cumulative match characteristic: for each rank k, the share of mated searches whose right person is within k.

    Args:
        ranks: (N,) int64 in [1, enrolled].
        enrolled: number of enrolled people.

    Returns:
        (enrolled,) float64, ascending to 1.
    """
    counts = torch.bincount(ranks - 1, minlength=enrolled)
    return counts.cumsum(0).double() / len(ranks)


def threshold_at_fpir(best: Tensor, fpir: float) -> float:
    """Lowest threshold at which the FPIR does not exceed `fpir`; it depends on the non-mated searches only.

    Args:
        best: (U,) highest score of each non-mated search; U at least 1.
        fpir: maximum FPIR in [0, 1).

    Returns:
        The next number above a score; the FPIR jumps beyond `fpir` there.

    Raises:
        ValueError: `fpir` is outside [0, 1).
    """
    if not 0 <= fpir < 1:
        raise ValueError(f"fpir must be in [0, 1), got {fpir}")
    descending = best.double().sort(descending=True).values
    returned = int((torch.arange(len(best) + 1).double() / len(best) <= fpir).sum()) - 1
    first_refused = descending[returned]
    return float(torch.nextafter(first_refused, first_refused.new_tensor(math.inf)))


def falsely_returned(best: Tensor, threshold: float) -> Tensor:
    """Whether (U,) each non-mated search returns anyone at or above a threshold.

    Args:
        best: (U,) highest score of each non-mated search.
        threshold: in the unit of the scores; compared in float64, since it may lie just above a float32 score.
    """
    return best.double() >= threshold


def fpir(best: Tensor, threshold: float) -> float:
    """False positive identification rate: share of non-mated searches that are `falsely_returned`."""
    return float(falsely_returned(best, threshold).double().mean())


def identified(own: Tensor, ranks: Tensor, threshold: float) -> Tensor:
    """Whether (N,) each mated search returns the right person at rank 1 and at or above a threshold.

    Args:
        own: (N,) score of the right person in each mated search.
        ranks: (N,) int64, rank of the right person.
        threshold: in the unit of the scores.
    """
    return (ranks == 1) & (own.double() >= threshold)


def fnir(own: Tensor, ranks: Tensor, threshold: float) -> float:
    """False negative identification rate FNIR(N, R=1, T): share of mated searches that are not `identified`."""
    return 1 - float(identified(own, ranks, threshold).double().mean())


@dataclass(frozen=True)
class OpenSetCurve:
    """FNIR over FPIR, one operating point just above each distinct score of the non-mated searches.

    Attributes:
        fpir: (P,) float64 in [0, 1), strictly ascending from 0.
        fnir: (P,) float64 in [0, 1], descending: the lowest FNIR at an FPIR of at most `fpir`.
    """

    fpir: Tensor
    fnir: Tensor


def open_set_curve(own: Tensor, ranks: Tensor, best: Tensor) -> OpenSetCurve:
    """FNIR at rank 1 for every FPIR that the non-mated searches can show.

    Args:
        own: (N,) score of the right person in each mated search.
        ranks: (N,) int64, rank of the right person.
        best: (U,) highest score of each non-mated search.
    """
    levels, counts = torch.unique(best.double(), return_counts=True)  # ascending
    above = counts.flip(0).cumsum(0).flip(0) - counts  # non-mated searches above each level
    found = own.double()[ranks == 1].sort().values
    refused = torch.searchsorted(found, levels, side="right")  # scores up to a level are refused just above it
    hits = (len(found) - refused).double() / len(own)
    return OpenSetCurve((above.double() / len(best)).flip(0), (1 - hits).flip(0))
