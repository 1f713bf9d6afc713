"""Base class of the sources of synthetic faces: how many are made, of whom, and how they join the training images."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
import psutil
from numpy.typing import NDArray
from pydantic import Field

from facelab.config.needs import NeedsRuns
from facelab.data.columns import Column, Indices
from facelab.data.faces import FaceSet, InMemory, JoinedPixels
from facelab.errors import ConfigError
from facelab.models.trained import Trained

MOST = 100_000  # faces of a person, or for a real image
PLANNED_BYTES = 32  # of a row of a plan


@dataclass(frozen=True)
class Plan:
    """Which synthetic faces are made. The label of a training image is that of its person, or whatever is predicted.

    Args:
        labels: (M,) int64, the label of each face, in [0, K) for those of the real images, from K on for new classes.
        parents: (M, 2) int64, the real labels that each face is made of; twice the same unless two are mixed.
        numbers: (M,) int64, position of the face among those of its label, from 0.
        new_classes: names of the labels from K on.
    """

    labels: Indices
    parents: NDArray[np.int64]
    numbers: Indices
    new_classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, parents: NDArray[np.int64], counts: Indices, new_classes: Sequence[str] = ()) -> "Plan":
        """The plan of labels (L,), each with two parents (L, 2) and a number of faces (L,).

        The labels of new classes follow those of the real images; without any, a label is its own parents.
        """
        first = int(parents.max()) + 1 if new_classes else 0
        labels = np.repeat(np.arange(len(counts)), counts)
        numbers = np.concatenate([np.arange(count) for count in counts])
        return cls(first + labels, parents[labels], numbers, tuple(new_classes))

    def times(self, factor: int) -> "Plan":
        """The same labels with several times as many faces each."""
        kept, counts = np.unique(self.labels, return_counts=True)
        labels = np.repeat(kept, factor * counts)
        parents = np.repeat(self.parents[np.searchsorted(self.labels, kept)], factor * counts, axis=0)
        numbers = np.concatenate([np.arange(factor * count) for count in counts])
        return replace(self, labels=labels, parents=parents, numbers=numbers)

    def portions(self, most: int) -> list["Plan"]:
        """The plan in portions of whole labels, of about `most` faces each."""
        firsts = np.flatnonzero(np.diff(self.labels, prepend=-1))
        starts = firsts[np.unique(firsts // most, return_index=True)[1]].tolist()
        return [self.part(start, end) for start, end in pairwise([*starts, len(self)])]

    def part(self, start: int, end: int) -> "Plan":
        """The faces at positions from `start` to before `end`."""
        part = slice(start, end)
        return replace(self, labels=self.labels[part], parents=self.parents[part], numbers=self.numbers[part])

    def generators(self, seed: int) -> list[np.random.Generator]:
        """A random generator for each face, which depends on the seed, its label and its number only."""
        rows = zip(self.labels.tolist(), self.numbers.tolist(), strict=True)
        return [np.random.default_rng([seed, label, number]) for label, number in rows]


@dataclass(frozen=True, kw_only=True)
class SyntheticFaces(NeedsRuns, ABC):
    """Base class of the sources of synthetic faces.

    They are made from training images only, and join these; validation and test images stay as they are. The n-th face
    of a person depends on the seed, the person's number and n, not on how many are made, unless a selection keeps some.

    Args:
        per_identity: number of faces of each class, usually a person; at most 100,000.
        ratio: number of faces for each real training image, instead of `per_identity`; at most 100,000.
        share: of synthetic faces among the images that are drawn in training; None to draw each as often as any other
            image, which sampling by classes needs.
        seed: of their randomness.

    Raises:
        ValueError: not exactly one of `per_identity` and `ratio` is given.
    """

    what: ClassVar[str]  # the faces in a few words

    per_identity: Annotated[int, Field(ge=1, le=MOST)] | None = None
    ratio: Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)] | None = None
    share: Annotated[float, Field(gt=0, lt=1)] | None = 0.5
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    def __post_init__(self) -> None:
        if (self.per_identity is None) == (self.ratio is None):
            given = "both are" if self.ratio is not None else "neither is"
            raise ValueError(
                f"per_identity or ratio says how many faces are made, and {given} given; type one of "
                "synthetic.per_identity=20 and synthetic.per_identity=null synthetic.ratio=1.0"
            )

    def check(self, faces: FaceSet) -> None:
        """Check that faces of this set can be made; by default, of every set.

        Raises:
            ConfigError: they cannot.
        """
        return

    def check_size(self, labels: Indices, face_bytes: int) -> None:
        """Check that the faces fit into memory, before any is planned.

        Args:
            labels: (N,) int64 of the real training images.
            face_bytes: of a face.

        Raises:
            ConfigError: they need more than this machine has.
        """
        count = int(self._numbers(np.bincount(labels)).sum())
        needed, has = count * (face_bytes + PLANNED_BYTES), psutil.virtual_memory().total
        if needed > has:
            key = (
                f"synthetic.per_identity={self.per_identity}" if self.ratio is None else f"synthetic.ratio={self.ratio}"
            )
            raise ConfigError(
                f"{key}: {count:,} synthetic faces need {needed / 2**30:,.0f} GiB; this machine has "
                f"{has / 2**30:,.0f} GiB. Choose a smaller number, or a smaller data.image_size."
            )

    def plan(self, labels: Indices, names: Sequence[str]) -> Plan:
        """Which faces are made.

        Args:
            labels: (N,) int64 of the real training images, all of [0, K).
            names: of the labels.
        """
        counts = np.bincount(labels)
        return Plan.of(np.arange(len(counts))[:, None].repeat(2, axis=1), self._numbers(counts))

    def _numbers(self, real: NDArray[np.int64]) -> Indices:
        """Number of faces for classes with so many real images, at least one each."""
        if self.ratio is None:
            return np.full(len(real), self.per_identity)
        found: Indices = np.maximum(1, np.rint(self.ratio * real)).astype(np.int64)
        return found

    def plan_mixtures(self, labels: Indices, names: Sequence[str]) -> Plan:
        """As `plan`, for sources that mix two people into a new class.

        There are as many new classes as people: all people in a random order, each mixed with the next one, the last
        with the first.
        """
        counts = np.bincount(labels)
        order = np.random.default_rng(self.seed).permutation(len(counts))
        pairs = np.sort(np.stack([order, np.roll(order, -1)], axis=1), axis=1)
        pairs = np.unique(pairs, axis=0)  # two people make one pair
        named = [f"{names[first]} + {names[second]}" for first, second in pairs]
        return Plan.of(pairs, self._numbers(np.full(len(pairs), len(labels) / len(counts))), named)

    @abstractmethod
    def make(self, plan: Plan, real: FaceSet, runs: Mapping[str, Trained]) -> NDArray[np.uint8]:
        """Make the faces of a plan.

        Args:
            plan: as `plan` returns it.
            real: the real training images, and no others.
            runs: the runs that it `needs`, by role.

        Returns:
            (M, H, W, C) uint8.
        """


def joined(real: FaceSet, plan: Plan, images: NDArray[np.uint8]) -> FaceSet:
    """The real training images, followed by synthetic faces.

    Of the columns, synthetic faces have a value of the label only.

    Args:
        real: N training images.
        plan: of the M faces.
        images: (M, H, W, C) uint8.
    """
    names = [*real.label_names, *plan.new_classes]
    unknown = np.full(len(plan), -1)
    columns = {
        name: Column(np.concatenate([column.codes, plan.labels if name == real.label else unknown]), column.names)
        for name, column in real.columns.items()
    }
    columns[real.label] = replace(columns[real.label], names=names)
    rows = zip(plan.labels.tolist(), plan.numbers.tolist(), strict=True)
    return replace(
        real,
        pixels=JoinedPixels(real.pixels, InMemory(images)),
        names=[*real.names, *(f"synthetic/{names[label]}/{number:05d}" for label, number in rows)],
        digests=[*real.digests, *(hashlib.sha256(image.tobytes()).hexdigest() for image in images)],
        columns=columns,
        perceptual=None,
    )


def members(real: FaceSet) -> list[Indices]:
    """Indices of the images of each label."""
    order = np.argsort(real.labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(real.labels))[:-1])
