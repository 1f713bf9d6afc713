"""Scored pairs of a part of a face set: all pairs of its images, or those of a list."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facelab.data.faces import FaceSet
from facelab.data.pair_list import PairList, has_only_pairs
from facelab.metrics.verification import Roc, best_threshold, roc
from facelab.protocols.backends import Scoring
from facelab.protocols.base import Outputs
from facelab.protocols.intervals import ScoredPairs
from facelab.protocols.pairs import Pairs, genuine_pairs, impostor_pairs


@dataclass(frozen=True)
class Kind:
    """Scored pairs of one kind, genuine or impostor.

    Args:
        pairs: scores, and the people who are resampled for intervals.
        images: (P, 2) int64, indices in the face set.
        fold: (P,) int64, from 0; 0 for all pairs that have no folds.
        total: number of existing pairs, from which these were drawn.
    """

    pairs: ScoredPairs
    images: NDArray[np.int64]
    fold: NDArray[np.int64]
    total: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def counted(self) -> str:
        """The number of pairs, as text."""
        return f"{len(self):,}" + (f" of {self.total:,}" if self.total > len(self) else "")


@dataclass(frozen=True)
class Scored:
    """Scored pairs of a part.

    Args:
        genuine: pairs of one person each.
        impostor: pairs of two people each.
        people: number of people, or of pairs if people are unknown; the numbers in both kinds are below it.
        where: where the pairs come from, in words.
        listed: whether they come from a list.
    """

    genuine: Kind
    impostor: Kind
    people: int
    where: str
    listed: bool

    def curve(self, chosen: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None) -> Roc:
        """The ROC curve of all pairs, or of the chosen genuine and impostor pairs."""
        scores = [kind.pairs.scores for kind in (self.genuine, self.impostor)]
        if chosen is not None:
            scores = [values[kept] for values, kept in zip(scores, chosen, strict=True)]
        return roc(*(torch.from_numpy(values) for values in scores))

    @property
    def folds(self) -> list[int]:
        """The numbers of the folds."""
        return [int(fold) for fold in np.union1d(self.genuine.fold, self.impostor.fold)]

    def threshold_of_others(self, fold: int) -> float:
        """Threshold with the highest balanced accuracy on the pairs of all other folds."""
        return best_threshold(self.curve((self.genuine.fold != fold, self.impostor.fold != fold)))


def score(outputs: Outputs, faces: FaceSet, scoring: Scoring, listed: PairList | None) -> Scored:
    """Score pairs of images.

    Args:
        outputs: of the model on the images.
        faces: the face set.
        scoring: fitted to training people.
        listed: the pairs, with images among those of `outputs`; None for all pairs of these images.
    """
    compared = scoring(outputs.embeddings)
    if listed is None:
        kinds = [draw(outputs.identities) for draw in (genuine_pairs, impostor_pairs)]
        folds = [np.zeros(len(pairs), np.int64) for pairs in kinds]
    else:
        first, second = (np.searchsorted(outputs.indices, images) for images in (listed.first, listed.second))
        flags = (listed.genuine, ~listed.genuine)
        kinds = [Pairs(first[kept], second[kept], int(kept.sum())) for kept in flags]
        folds = [listed.fold[kept] for kept in flags]
    people, units = _units(outputs, faces, kinds, listed)
    scored = [
        Kind(
            ScoredPairs(compared.pairs(pairs.first, pairs.second), *of_pairs),
            np.stack([outputs.indices[pairs.first], outputs.indices[pairs.second]], axis=1),
            fold,
            pairs.total,
        )
        for pairs, of_pairs, fold in zip(kinds, units, folds, strict=True)
    ]
    where = f"all pairs of {people:,} people" if listed is None else f"the pairs of {listed.name}"
    return Scored(scored[0], scored[1], people, where, listed is not None)


_Units = tuple[NDArray[np.int64], NDArray[np.int64]]


def _units(outputs: Outputs, faces: FaceSet, kinds: list[Pairs], listed: PairList | None) -> tuple[int, list[_Units]]:
    """What is resampled, and its numbers for the pairs of each kind: people, or pairs if people are unknown."""
    if listed is not None and has_only_pairs(faces):
        numbers = np.split(np.arange(sum(map(len, kinds))), [len(kinds[0])])
        return sum(map(len, kinds)), [(of_kind, of_kind) for of_kind in numbers]
    people, person = np.unique(outputs.identities, return_inverse=True)
    genuine, impostor = kinds
    of_genuine = person[genuine.first]
    return len(people), [(of_genuine, of_genuine), (person[impostor.first], person[impostor.second])]
