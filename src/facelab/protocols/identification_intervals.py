"""95 % confidence intervals of identification: percentile bootstraps over the people who are searched for.

The gallery stays as it is: the intervals are of other searches in the same gallery.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.protocols.intervals import FEW_RESAMPLES, Interval, times_drawn, widened


def share_interval(hits: NDArray[np.bool_], identities: Indices) -> Interval:
    """Interval of the share of images (or searches) that are hits.

    People are drawn with all their images. Near 0 and 1 a bootstrap is too narrow, so the interval reaches at least as
    far as the exact binomial interval over the N images (Clopper and Pearson, 1934).

    Args:
        hits: (N,) whether each image counts.
        identities: (N,) the person on each image.
    """
    _, person = np.unique(identities, return_inverse=True)
    sums = np.stack([np.bincount(person, weights=hits), np.bincount(person)], axis=1)
    drawn = np.stack([times @ sums for times in times_drawn(len(sums), resamples=FEW_RESAMPLES)])
    return widened(drawn[:, 0] / drawn[:, 1], float(hits.mean()), len(hits))


def fnir_intervals(
    own: NDArray[np.float32],
    ranks: Indices,
    best: NDArray[np.float32],
    mated_people: Indices,
    non_mated_people: Indices,
    fpirs: Sequence[float],
) -> list[Interval]:
    """Intervals of the FNIR at thresholds that are read on the non-mated searches of the same test.

    Enrolled people and people who are not enrolled are drawn independently; each resample has its own threshold.

    Args:
        own: (N,) score of the right person in each mated search.
        ranks: (N,) int64, rank of the right person.
        best: (U,) highest score of each non-mated search.
        mated_people: (N,) the person of each mated search.
        non_mated_people: (U,) the person of each non-mated search.
        fpirs: the T highest allowed FPIRs.

    Returns:
        T pairs (low, high).
    """
    levels, level = np.unique(best, return_inverse=True)  # ascending
    # The number of levels that must be returned for a search to return its person.
    needed = np.where(ranks == 1, len(levels) - np.searchsorted(levels, own, side="left"), len(levels) + 1)
    (_, mated), (_, stranger) = (np.unique(of, return_inverse=True) for of in (mated_people, non_mated_people))
    allowed = np.asarray(fpirs)[:, None]

    def misses(of_mated: NDArray[np.int64], of_strangers: NDArray[np.int64]) -> NDArray[np.float64]:
        false = np.bincount(level, weights=of_strangers[stranger], minlength=len(levels))[::-1].cumsum()
        returned = (false / false[-1] <= allowed).sum(axis=1)
        hits = np.bincount(needed, weights=of_mated[mated], minlength=len(levels) + 2).cumsum()
        shares: NDArray[np.float64] = 1 - hits[returned] / hits[-1]
        return shares

    draws = zip(
        times_drawn(int(mated.max()) + 1, seed=0, resamples=FEW_RESAMPLES),
        times_drawn(int(stranger.max()) + 1, seed=1, resamples=FEW_RESAMPLES),
        strict=True,
    )
    resampled = np.stack([misses(*both) for both in draws])
    once = misses(np.ones(int(mated.max()) + 1, np.int64), np.ones(int(stranger.max()) + 1, np.int64))
    return [widened(resampled[:, place], value, len(own)) for place, value in enumerate(once.tolist())]
