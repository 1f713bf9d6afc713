"""Pairs of images for verification, drawn by number and scored in blocks, so that memory stays below O(N^2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_PAIRS = 1_000_000
_BLOCK_BYTES = 2**25


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


def cosines(embeddings: NDArray[np.float32], pairs: Pairs) -> NDArray[np.float32]:
    """Cosine of the two embeddings of each pair, in blocks of bounded memory.

    Args:
        embeddings: (N, D); a zero vector has cosine 0 with all others.
        pairs: P pairs of their rows.

    Returns:
        (P,) float32 in [-1, 1], up to rounding.
    """
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions = (embeddings / np.maximum(lengths, 1e-12)).astype(np.float32)
    scores = np.empty(len(pairs), np.float32)
    step = max(1, _BLOCK_BYTES // directions[:1].nbytes)
    for start in range(0, len(pairs), step):
        block = slice(start, start + step)
        left, right = directions[pairs.first[block]], directions[pairs.second[block]]
        np.einsum("nd,nd->n", left, right, out=scores[block])
    return scores


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
        edges = np.arange(most + 1) * total // most
        numbers = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
    place = np.searchsorted(ends, numbers, side="right")
    second = partners[place] + numbers - (ends[place] - counts[place])
    return Pairs(order[place], order[second], total)
