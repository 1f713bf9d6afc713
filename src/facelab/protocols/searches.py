"""Searches of a gallery: scores and ranks of probes, in blocks of bounded memory."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.metrics.identification import mated_ranks
from facelab.protocols.backends import Compared, Scoring, unit
from facelab.protocols.enrolment import Enrolment

BLOCK_SCORES = 2**24  # of probes with enrolled people at a time: 64 MiB


@dataclass(frozen=True)
class Searches:
    """Results of all searches of a gallery, in the order of the enrolment's probes.

    Args:
        ranks: (N,) int64, rank of the right person in each mated search, from 1; of equal scores it comes last.
        own: (N,) float32, score of the right person.
        other: (N,) int64, place in the gallery's people of the best other person; -1 if only one is enrolled.
        other_score: (N,) float32, the score of that person; minus infinity if there is none.
        best: (U,) float32, highest score of each non-mated search.
        nearest: (U,) int64, place in the gallery's people of the person with that score.
    """

    ranks: Indices
    own: NDArray[np.float32]
    other: Indices
    other_score: NDArray[np.float32]
    best: NDArray[np.float32]
    nearest: Indices


def templates(embeddings: NDArray[np.float32], owners: Indices) -> NDArray[np.float32]:
    """One embedding per owner: the mean of its images' embeddings, each scaled to length 1.

    Averages of directions are the usual templates of several images (Whitelam et al., "IARPA Janus Benchmark-B Face
    Dataset", 2017; Cao et al., "VGGFace2", 2018).

    Args:
        embeddings: (N, D).
        owners: (N,) number of each image's owner, from 0 without gaps.

    Returns:
        (max(owners) + 1, D).
    """
    sums = np.zeros((int(owners.max()) + 1, embeddings.shape[1]))
    np.add.at(sums, owners, unit(embeddings))
    return (sums / np.bincount(owners)[:, None]).astype(np.float32)


def search(embeddings: NDArray[np.float32], identities: Indices, enrolment: Enrolment, scoring: Scoring) -> Searches:
    """Search the gallery with every probe.

    Args:
        embeddings: (N, D) of the images of a split.
        identities: (N,) of the images.
        enrolment: places of the gallery and of the probes among these images.
        scoring: of a fitted backend.
    """
    owners = np.searchsorted(enrolment.people, identities[enrolment.gallery])
    gallery, images = scoring(templates(embeddings[enrolment.gallery], owners)), scoring(embeddings)
    mates = np.searchsorted(enrolment.people, identities[enrolment.mated])
    mated = _mated(images.only(enrolment.mated), mates, gallery)
    return Searches(*mated, *_non_mated(images.only(enrolment.non_mated), gallery))


def _mated(
    probes: Compared, mates: Indices, gallery: Compared
) -> tuple[Indices, NDArray[np.float32], Indices, NDArray[np.float32]]:
    ranks, other = np.empty(len(probes), np.int64), np.empty(len(probes), np.int64)
    own, other_score = np.empty(len(probes), np.float32), np.empty(len(probes), np.float32)
    for block in _blocks(len(probes), len(gallery)):
        scores, right = probes.only(block).against(gallery), mates[block]
        ranks[block] = mated_ranks(torch.from_numpy(scores), torch.from_numpy(right)).numpy()
        rows = np.arange(len(block))
        own[block] = scores[rows, right]
        scores[rows, right] = -np.inf
        other[block] = scores.argmax(axis=1) if len(gallery) > 1 else -1
        other_score[block] = scores.max(axis=1)
    return ranks, own, other, other_score


def _non_mated(probes: Compared, gallery: Compared) -> tuple[NDArray[np.float32], Indices]:
    best, nearest = np.empty(len(probes), np.float32), np.empty(len(probes), np.int64)
    for block in _blocks(len(probes), len(gallery)):
        scores = probes.only(block).against(gallery)
        nearest[block] = scores.argmax(axis=1)
        best[block] = scores[np.arange(len(block)), nearest[block]]
    return best, nearest


def _blocks(probes: int, enrolled: int) -> list[Indices]:
    step = max(1, BLOCK_SCORES // enrolled)
    return [np.arange(start, min(start + step, probes)) for start in range(0, probes, step)]
