"""The rules by which pictures are for training, validation and test."""

from collections.abc import Callable
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facelab.data.copies import Duplicates, Indices
from facelab.data.dividing import TEST, TRAIN, VAL, Few, PerClass, Split, Splits, prepare, split
from facelab.data.faces import FaceSet
from facelab.errors import DataError

__all__ = ["FewShot", "IdentityDisjoint", "KFold", "Official", "Ratio", "Split", "Splits", "prepare", "split"]

Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Ratio(PerClass):
    """Shares of every class's pictures, drawn at random: people are shared between the parts, pictures never.

    Args:
        train: share for training.
        val: share for validation, by which the best weights are kept; may be 0.
        test: share for the test.
        seed: of the draw; the training seed does not touch it.
        few: what to do about classes with too few pictures: `error`, `drop` these people, or `train` on them only.
        duplicates: what to do about equal pictures: `error`, or `drop` all but the first.
    """

    def __init__(
        self,
        train: Fraction = 0.6,
        val: Fraction = 0.2,
        test: Fraction = 0.2,
        seed: Seed = 0,
        few: Few = "error",
        duplicates: Duplicates = "error",
    ) -> None:
        if abs(train + val + test - 1) > 1e-6:
            raise ValueError(f"train + val + test must be 1, got {train} + {val} + {test} = {train + val + test:g}")
        if train == 0 or test == 0:
            raise ValueError(f"train and test must be above 0, got train={train}, test={test}")
        self.shares, self.seed = {"train": train, "val": val, "test": test}, seed
        self.few, self.duplicates = few, duplicates

    @property
    def title(self) -> str:
        """`split=0`."""
        return f"split={self.seed}"

    @property
    def has_validation(self) -> bool:
        """Unless its share is 0."""
        return self.shares["val"] > 0

    @property
    def keys(self) -> str:
        """The shares."""
        return " ".join(f"split.{part}={share:g}" for part, share in self.shares.items())

    def cut(self, count: int) -> NDArray[np.int8] | None:
        """By the largest remainder method, so that the counts add up; too few where a part would stay empty."""
        counts = _largest_remainder(count, self.shares)
        if any(share > 0 and counts[part] == 0 for part, share in self.shares.items()):
            return None
        return np.repeat(np.array([TRAIN, VAL, TEST], np.int8), list(counts.values()))

    def shuffler(self) -> Callable[[Indices], Indices]:
        """One generator for all classes."""
        return np.random.default_rng(self.seed).permutation


class KFold(PerClass):
    """Cross-validation: every class's pictures, shuffled, are cut into parts, and each fold tests on another part.

    Part number `fold` is the test, the next one validation (after the last comes the first), the others training. Over
    all folds every picture is tested exactly once. Where a class's pictures are no multiple of `folds`, its first parts
    have one more.

    Args:
        folds: how many parts.
        fold: which of them is the test, counted from 0.
        seed: of the shuffle, the same for all folds; the training seed does not touch it.
        few: what to do about classes with too few pictures: `error`, `drop` these people, or `train` on them only.
        duplicates: what to do about equal pictures: `error`, or `drop` all but the first.
    """

    def __init__(
        self,
        folds: Annotated[int, Field(ge=3)] = 5,
        fold: Annotated[int, Field(ge=0)] = 0,
        seed: Seed = 0,
        few: Few = "error",
        duplicates: Duplicates = "error",
    ) -> None:
        if folds < 3:
            raise ValueError(f"folds must be 3 or more (test, validation and training), got {folds}")
        if not 0 <= fold < folds:
            raise ValueError(f"fold must be from 0 to folds - 1 = {folds - 1}, got {fold}")
        self.folds, self.fold, self.seed = folds, fold, seed
        self.few, self.duplicates = few, duplicates

    @property
    def title(self) -> str:
        """`fold=0/5 · split=0`."""
        return f"fold={self.fold}/{self.folds} · split={self.seed}"

    @property
    def has_validation(self) -> bool:
        """Always."""
        return True

    @property
    def keys(self) -> str:
        """The number of parts."""
        return f"split.folds={self.folds}"

    def cut(self, count: int) -> NDArray[np.int8] | None:
        """As even as can be; too few where there is not one for each part."""
        if count < self.folds:
            return None
        part = np.full(self.folds, TRAIN, dtype=np.int8)
        part[self.fold], part[(self.fold + 1) % self.folds] = TEST, VAL
        sizes = np.full(self.folds, count // self.folds)
        sizes[: count % self.folds] += 1
        return np.repeat(part, sizes)

    def shuffler(self) -> Callable[[Indices], Indices]:
        """One generator for all classes."""
        return np.random.default_rng(self.seed).permutation


class FewShot(PerClass):
    """The fixed few-shot protocol: k pictures a person to train, all others to test, no validation.

    For split seed s: `r = numpy.random.RandomState(s)`; for each identity in order `p = r.permutation(n)` over its n
    pictures in order; the first k are training, the rest test.

    Args:
        train_per_identity: k, training pictures of each person.
        seed: s; ten splits, 0 to 9, are used for published figures.
        few: what to do about classes with too few pictures: `error`, `drop` these people, or `train` on them only.
        duplicates: what to do about equal pictures: `error`, or `drop` all but the first.
    """

    def __init__(
        self,
        train_per_identity: Annotated[int, Field(ge=1)] = 5,
        seed: Seed = 0,
        few: Few = "error",
        duplicates: Duplicates = "error",
    ) -> None:
        self.train_per_identity, self.seed = train_per_identity, seed
        self.few, self.duplicates = few, duplicates

    @property
    def title(self) -> str:
        """`k=5 · split=0`."""
        return f"k={self.train_per_identity} · split={self.seed}"

    @property
    def has_validation(self) -> bool:
        """Never."""
        return False

    @property
    def keys(self) -> str:
        """The number of training pictures."""
        return f"split.train_per_identity={self.train_per_identity}"

    def cut(self, count: int) -> NDArray[np.int8] | None:
        """The first k train; too few where none is left to test."""
        if count <= self.train_per_identity:
            return None
        return np.where(np.arange(count) < self.train_per_identity, TRAIN, TEST).astype(np.int8)

    def shuffler(self) -> Callable[[Indices], Indices]:
        """As published: a permutation of n numbers for each person."""
        random = np.random.RandomState(self.seed)
        return lambda members: members[random.permutation(len(members))]


class IdentityDisjoint(Split):
    """The first people in order are for training, all others for the test; nobody is in both, and nobody validates.

    On AT&T with 20 people to train: s1 to s20 train, s21 to s40 test.

    Args:
        train_people: how many people are for training.
        duplicates: what to do about equal pictures: `error`, or `drop` all but the first.
    """

    def __init__(self, train_people: Annotated[int, Field(ge=2)] = 20, duplicates: Duplicates = "error") -> None:
        self.train_people, self.duplicates = train_people, duplicates

    @property
    def title(self) -> str:
        """`20 people`."""
        return f"{self.train_people} people"

    @property
    def has_validation(self) -> bool:
        """Never."""
        return False

    def divide(self, faces: FaceSet) -> Splits:
        """Divide by people."""
        people = np.unique(faces.identities)
        if len(people) < self.train_people + 2:
            raise DataError(
                f"split.train_people={self.train_people}: {faces.source} holds {len(people)} people, and at least two "
                f"must be left to test. Lower it to {len(people) - 2} or less, or add people."
            )
        is_train = np.isin(faces.identities, people[: self.train_people])
        return Splits(train=np.flatnonzero(is_train), val=np.empty(0, dtype=np.int64), test=np.flatnonzero(~is_train))


class Official(Split):
    """The parts a set comes in: `root/train`, `root/test` and, if it is there, `root/val`, of `data=folder`.

    Without a val part the last weights are kept. Classes without training pictures may be in the test alone, for
    protocols that ask about strangers.

    Args:
        duplicates: what to do about equal pictures: `error`, or `drop` all but one. A picture of the test stays, so
            that figures compare with published ones, and its copies in validation and training go.
    """

    takes_parts: ClassVar[bool] = True

    def __init__(self, duplicates: Duplicates = "error") -> None:
        self.duplicates = duplicates

    @property
    def title(self) -> str:
        """`official`."""
        return "official"

    @property
    def has_validation(self) -> bool:
        """Taken for granted: before the set is read, nobody knows."""
        return True

    def copies_order(self, faces: FaceSet) -> Indices:
        """The test first, then validation, then training."""
        return np.concatenate([np.flatnonzero(_parts_of(faces) == part) for part in ("test", "val", "train")])

    def divide(self, faces: FaceSet) -> Splits:
        """By the column `part`."""
        part = _parts_of(faces)
        train, val, test = (np.flatnonzero(part == name) for name in ("train", "val", "test"))
        missing = [name for name, indices in (("train", train), ("test", test)) if len(indices) == 0]
        if missing:
            raise DataError(
                f"split=official: {faces.source} has no pictures for {' and '.join(missing)}; its parts are "
                f"{', '.join(np.unique(part))}. Expected folders train and test; rename one, or name one by data.root "
                "and choose split=ratio, which divides it."
            )
        strangers = np.setdiff1d(faces.labels[val], faces.labels[train])
        if len(strangers):
            raise DataError(
                f"split=official: {len(strangers):,} classes of {faces.source}'s validation have no training picture, "
                f"'{faces.label_names[strangers[0]]}' among them, and a classifier cannot know them. Add some, or move "
                "these folders to test and choose protocol=verification."
            )
        return Splits(train, val, test)


def _parts_of(faces: FaceSet) -> NDArray[np.str_]:
    if "part" not in faces.columns:
        raise DataError(
            f"split=official: {faces.source} is not divided. Expected data=folder and a data.root that holds train, "
            "test and, if you like, val, each with one folder a person; or choose split=ratio, which divides it."
        )
    return faces.columns["part"]


def _largest_remainder(total: int, shares: dict[str, float]) -> dict[str, int]:
    """Whole numbers that add up to `total`, as near to the shares as can be."""
    exact = {part: total * share for part, share in shares.items()}
    counts = {part: int(value + 1e-9) for part, value in exact.items()}
    by_remainder = sorted(exact, key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: total - sum(counts.values())]:
        counts[part] += 1
    return counts
