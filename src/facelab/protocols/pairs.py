"""Pairs of images for verification, drawn by number, so that memory stays below O(N^2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_PAIRS = 1_000_000


@dataclass(frozen=True)
class Pairs:
    """Genuine or impostor pairs of images.

    Args:
        first: (P,) int64, numbers of the first images.
        second: (P,) int64, numbers of the second images.
        total: number of existing pairs, from which these P were drawn.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    total: int

    def __len__(self) -> int:
        return len(self.first)


def genuine_pairs(identities: NDArray[np.int64], most: int = MOST_PAIRS, seed: int = 0) -> Pairs:
    """Pairs of two images of one identity.

    Args:
        identities: (N,) identities of the images.
        most: maximum number of pairs; if there are more, this many are drawn, evenly spaced over the images.
        seed: seed of the draw.
    """
    order, ends = _sorted(identities)
    places = np.arange(len(order))
    return _pairs(order, places + 1, ends - places - 1, most, seed)


def impostor_pairs(identities: NDArray[np.int64], most: int = MOST_PAIRS, seed: int = 0) -> Pairs:
    """Pairs of images of two identities; arguments as for `genuine_pairs`."""
    order, ends = _sorted(identities)
    return _pairs(order, ends, len(order) - ends, most, seed)


def _sorted(identities: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The images ordered by identity, and for each position in that order the end of its identity's images."""
    order = np.argsort(identities, kind="stable")
    _, counts = np.unique(identities, return_counts=True)
    return order, np.repeat(np.cumsum(counts), counts)


def _pairs(
    order: NDArray[np.int64], partners: NDArray[np.int64], counts: NDArray[np.int64], most: int, seed: int
) -> Pairs:
    """Pairs of each position with the `counts` positions from `partners` on."""
    ends = np.cumsum(counts)
    total = int(ends[-1])
    if total <= most:
        numbers = np.arange(total)
    else:  # one from each of `most` equal ranges: no duplicates, memory O(most)
        places = np.arange(most + 1)
        edges = places * (total // most) + places * (total % most) // most  # places * total may exceed int64
        numbers = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
    place = np.searchsorted(ends, numbers, side="right")
    second = partners[place] + numbers - (ends[place] - counts[place])
    return Pairs(order[place], order[second], total)
