"""Which pictures are for training, validation and test."""

from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facelab.data.faces import FaceSet
from facelab.errors import DataError

Indices = NDArray[np.int64]
Fraction = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Splits:
    """Numbers of pictures, each in one part at most; `val` may be empty."""

    train: Indices
    val: Indices
    test: Indices

    def items(self) -> tuple[tuple[str, Indices], ...]:
        """The parts by name."""
        return ("train", self.train), ("val", self.val), ("test", self.test)


class Split(ABC):
    """A rule that divides a face set."""

    @property
    @abstractmethod
    def title(self) -> str:
        """A few words for run names, such as `k=5 · split=0`."""

    @property
    @abstractmethod
    def has_validation(self) -> bool:
        """Whether some pictures are for validation; a search needs them, since it must not choose by the test."""

    @abstractmethod
    def divide(self, faces: FaceSet) -> Splits:
        """Divide a set; `split` is the call to use, which also checks the result.

        Raises:
            DataError: a class has too few pictures.
        """


class Ratio(Split):
    """Shares of every class's pictures, drawn at random: people are shared between the parts, pictures never.

    Args:
        train: share for training.
        val: share for validation, by which the best weights are kept; may be 0.
        test: share for the test.
        seed: of the draw; the training seed does not touch it.
    """

    def __init__(
        self, train: Fraction = 0.6, val: Fraction = 0.2, test: Fraction = 0.2, seed: Annotated[int, Field(ge=0)] = 0
    ) -> None:
        if abs(train + val + test - 1) > 1e-6:
            raise ValueError(f"train + val + test must be 1, got {train} + {val} + {test} = {train + val + test:g}")
        if train == 0 or test == 0:
            raise ValueError(f"train and test must be above 0, got train={train}, test={test}")
        self.shares, self.seed = {"train": train, "val": val, "test": test}, seed

    @property
    def title(self) -> str:
        """`split=0`."""
        return f"split={self.seed}"

    @property
    def has_validation(self) -> bool:
        """Unless its share is 0."""
        return self.shares["val"] > 0

    def divide(self, faces: FaceSet) -> Splits:
        """Divide every class by the largest remainder method, so that the counts add up."""
        random = np.random.default_rng(self.seed)
        splits: dict[str, list[Indices]] = defaultdict(list)
        for label, name in enumerate(faces.label_names):
            members = np.flatnonzero(faces.labels == label)
            counts = _largest_remainder(len(members), self.shares)
            short = [part for part, share in self.shares.items() if share > 0 and counts[part] == 0]
            if short:
                raise DataError(
                    f"class '{name}' has {len(members)} pictures: too few for {' and '.join(short)} with "
                    f"split.train={self.shares['train']}, split.val={self.shares['val']}, "
                    f"split.test={self.shares['test']}. Add pictures, leave the class out, or change the shares "
                    "(split.val=0 needs no validation pictures)."
                )
            shuffled = random.permutation(members)
            start = 0
            for part, count in counts.items():
                splits[part].append(shuffled[start : start + count])
                start += count
        return Splits(**{part: np.sort(np.concatenate(chunks)) for part, chunks in splits.items()})


class KFold(Split):
    """Cross-validation: every class's pictures, shuffled, are cut into parts, and each fold tests on another part.

    Part number `fold` is the test, the next one validation (after the last comes the first), the others training. Over
    all folds every picture is tested exactly once. Where a class's pictures are no multiple of `folds`, its first parts
    have one more.

    Args:
        folds: how many parts.
        fold: which of them is the test, counted from 0.
        seed: of the shuffle, the same for all folds; the training seed does not touch it.
    """

    def __init__(
        self,
        folds: Annotated[int, Field(ge=3)] = 5,
        fold: Annotated[int, Field(ge=0)] = 0,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        if folds < 3:
            raise ValueError(f"folds must be 3 or more (test, validation and training), got {folds}")
        if not 0 <= fold < folds:
            raise ValueError(f"fold must be from 0 to folds - 1 = {folds - 1}, got {fold}")
        self.folds, self.fold, self.seed = folds, fold, seed

    @property
    def title(self) -> str:
        """`fold=0/5 · split=0`."""
        return f"fold={self.fold}/{self.folds} · split={self.seed}"

    @property
    def has_validation(self) -> bool:
        """Always."""
        return True

    def divide(self, faces: FaceSet) -> Splits:
        """Divide every class."""
        random = np.random.default_rng(self.seed)
        train, val, test = [], [], []
        for label, name in enumerate(faces.label_names):
            members = np.flatnonzero(faces.labels == label)
            if len(members) < self.folds:
                raise DataError(
                    f"class '{name}' has {len(members)} pictures: too few for split.folds={self.folds}, which needs "
                    "one for each part. Add pictures, leave the class out, or lower split.folds."
                )
            splits = np.array_split(random.permutation(members), self.folds)
            test.append(splits[self.fold])
            val.append(splits[(self.fold + 1) % self.folds])
            train += [splits[(self.fold + step) % self.folds] for step in range(2, self.folds)]
        return Splits(*(np.sort(np.concatenate(chunks)) for chunks in (train, val, test)))


class FewShot(Split):
    """The fixed few-shot protocol: k pictures a person to train, all others to test, no validation.

    For split seed s: `r = numpy.random.RandomState(s)`; for each identity in order `p = r.permutation(n)` over its n
    pictures in order; the first k are training, the rest test.

    Args:
        train_per_identity: k, training pictures of each person.
        seed: s; ten splits, 0 to 9, are used for published figures.
    """

    def __init__(
        self, train_per_identity: Annotated[int, Field(ge=1)] = 5, seed: Annotated[int, Field(ge=0)] = 0
    ) -> None:
        self.train_per_identity, self.seed = train_per_identity, seed

    @property
    def title(self) -> str:
        """`k=5 · split=0`."""
        return f"k={self.train_per_identity} · split={self.seed}"

    @property
    def has_validation(self) -> bool:
        """Never."""
        return False

    def divide(self, faces: FaceSet) -> Splits:
        """Divide every class."""
        random = np.random.RandomState(self.seed)
        train, test = [], []
        for label, name in enumerate(faces.label_names):
            members = np.flatnonzero(faces.labels == label)
            if len(members) <= self.train_per_identity:
                raise DataError(
                    f"class '{name}' has {len(members)} pictures; split.train_per_identity={self.train_per_identity} "
                    f"needs at least {self.train_per_identity + 1}, so that one is left to test. "
                    "Add pictures, leave the class out, or lower split.train_per_identity."
                )
            order = members[random.permutation(len(members))]
            train.append(order[: self.train_per_identity])
            test.append(order[self.train_per_identity :])
        return Splits(
            train=np.sort(np.concatenate(train)),
            val=np.empty(0, dtype=np.int64),
            test=np.sort(np.concatenate(test)),
        )


class IdentityDisjoint(Split):
    """The first people in order are for training, all others for the test; nobody is in both, and nobody validates.

    On AT&T with 20 people to train: s1 to s20 train, s21 to s40 test.

    Args:
        train_people: how many people are for training.
    """

    def __init__(self, train_people: Annotated[int, Field(ge=2)] = 20) -> None:
        self.train_people = train_people

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


def split(faces: FaceSet, rule: Split) -> Splits:
    """Divide a set and make sure that no picture is in two parts, not even as a copy.

    Raises:
        DataError: too few pictures in a class, or equal pictures in two parts.
    """
    splits = rule.divide(faces)
    seen: dict[str, tuple[str, str]] = {}
    leaks = []
    for part, indices in splits.items():
        for index in indices:
            digest, name = faces.digests[index], faces.names[index]
            other_part, other = seen.setdefault(digest, (part, name))
            if other_part != part:
                leaks.append(f"{other} ({other_part}) = {name} ({part})")
    if leaks:
        shown = "".join(f"\n  - {leak}" for leak in leaks[:20]) + ("\n  ..." if len(leaks) > 20 else "")
        raise DataError(
            f"{len(leaks)} pictures of {faces.source} are equal to one in another part of the split, so that a test "
            f"would be asked what was trained on. Delete one of each pair:{shown}"
        )
    return splits


def _largest_remainder(total: int, shares: dict[str, float]) -> dict[str, int]:
    """Whole numbers that add up to `total`, as near to the shares as can be."""
    exact = {part: total * share for part, share in shares.items()}
    counts = {part: int(value + 1e-9) for part, value in exact.items()}
    by_remainder = sorted(exact, key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: total - sum(counts.values())]:
        counts[part] += 1
    return counts
