"""95 % confidence intervals of TAR at low FARs, over many pairs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facelab.protocols.intervals import FEW_RESAMPLES, Interval, ScoredPairs, times_drawn, widened

MOST_EXACT, MOST_DRAWN = 100_000, 200_000


def tar_intervals(
    genuine: ScoredPairs, impostor: ScoredPairs, people: int, tars: Sequence[float], fars: Sequence[float]
) -> list[Interval]:
    """Intervals of TARs at FARs: a percentile bootstrap over people, each resample with its own threshold.

    A genuine pair of a person drawn t times counts t times, an impostor pair of two people drawn t and u times counts
    t * u times. The 100,000 impostor pairs with the highest scores, which set the thresholds of low FARs, all count;
    200,000 of the others, drawn at random, stand for all of them. An interval is widened to the exact binomial one with
    a trial for each person with a genuine pair.

    Args:
        genuine: pairs of one person each.
        impostor: pairs of two people each.
        people: number of people, also of those without a pair.
        tars: of all pairs, one for each FAR.
        fars: the highest allowed FARs.

    Returns:
        (low, high) for each FAR.
    """
    kept, weight = _thinned(impostor.scores)
    levels, level = np.unique(impostor.scores[kept], return_inverse=True)
    first, second = impostor.first[kept], impostor.second[kept]
    # The number of levels that must be accepted for a genuine pair to be accepted.
    needed = len(levels) - np.searchsorted(levels, genuine.scores, side="left")
    allowed, resampled = np.asarray(fars)[:, None], []
    for times in times_drawn(people, resamples=FEW_RESAMPLES):
        accepted = np.bincount(level, weights=weight * times[first] * times[second], minlength=len(levels))
        false = accepted[::-1].cumsum()
        hits = np.bincount(needed, weights=times[genuine.first], minlength=len(levels) + 1).cumsum()
        if false[-1] > 0 and hits[-1] > 0:
            resampled.append(hits[(false / false[-1] <= allowed).sum(axis=1)] / hits[-1])
    drawn, compared = np.stack(resampled), len(np.unique(genuine.first))
    return [widened(drawn[:, place], tar, compared) for place, tar in enumerate(tars)]


def _thinned(scores: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places of the pairs that are kept, and how many pairs each stands for."""
    if len(scores) <= MOST_EXACT + MOST_DRAWN:
        return np.arange(len(scores)), np.ones(len(scores))
    order = np.argpartition(-scores, MOST_EXACT)
    rest = len(scores) - MOST_EXACT
    drawn = np.random.default_rng(0).choice(rest, MOST_DRAWN, replace=False)
    kept = np.concatenate([order[:MOST_EXACT], order[MOST_EXACT:][drawn]])
    return kept, np.repeat([1.0, rest / MOST_DRAWN], [MOST_EXACT, MOST_DRAWN])
