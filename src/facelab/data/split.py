"""Rules that split a face set into train, val and test."""

from collections.abc import Callable
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facelab.data.columns import Indices
from facelab.data.copies import Duplicates
from facelab.data.dividing import TEST, TRAIN, VAL, Few, PerClass, Split, Splits, prepare, split
from facelab.data.faces import PART, FaceSet
from facelab.errors import DataError

__all__ = ["FewShot", "IdentityDisjoint", "KFold", "Official", "Ratio", "Split", "Splits", "prepare", "split"]

Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Ratio(PerClass):
    """Random split of every class by shares: all splits contain the same people, but no image twice.

    Args:
        train: share for training.
        val: share for validation, which selects the best weights; may be 0.
        test: share for testing.
        seed: of the random split; independent of the training seed.
        few: handling of classes with too few images: `error`, `drop` these people, or `train` on them only.
        duplicates: handling of equal images: `error`, or `drop` all but the first.
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
        """True unless the validation share is 0."""
        return self.shares["val"] > 0

    @property
    def keys(self) -> str:
        """The shares."""
        return " ".join(f"split.{part}={share:g}" for part, share in self.shares.items())

    def cut(self, count: int) -> NDArray[np.int8] | None:
        """Largest remainder method, so that the counts add up; too few if a split would be empty."""
        counts = _largest_remainder(count, self.shares)
        if any(share > 0 and counts[part] == 0 for part, share in self.shares.items()):
            return None
        return np.repeat(np.array([TRAIN, VAL, TEST], np.int8), list(counts.values()))

    def shuffler(self) -> Callable[[Indices], Indices]:
        """A generator shared by all classes."""
        return np.random.default_rng(self.seed).permutation


class KFold(PerClass):
    """K-fold cross-validation, stratified by class: each fold tests on another part of every class's images.

    Each class is shuffled and cut into `folds` parts. Part `fold` is the test split, the next part (cyclically) is
    validation, the others are training. Over all folds every image is tested exactly once. If `folds` does not divide
    the number of a class's images, its first parts have one more.

    Args:
        folds: number of parts.
        fold: the part that is the test split, from 0.
        seed: of the shuffle, the same for all folds; independent of the training seed.
        few: handling of classes with too few images: `error`, `drop` these people, or `train` on them only.
        duplicates: handling of equal images: `error`, or `drop` all but the first.
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
        """Always True."""
        return True

    @property
    def keys(self) -> str:
        """The number of parts."""
        return f"split.folds={self.folds}"

    def cut(self, count: int) -> NDArray[np.int8] | None:
        """Parts of equal size up to one image; too few if a part would be empty."""
        if count < self.folds:
            return None
        part = np.full(self.folds, TRAIN, dtype=np.int8)
        part[self.fold], part[(self.fold + 1) % self.folds] = TEST, VAL
        sizes = np.full(self.folds, count // self.folds)
        sizes[: count % self.folds] += 1
        return np.repeat(part, sizes)

    def shuffler(self) -> Callable[[Indices], Indices]:
        """A generator shared by all classes."""
        return np.random.default_rng(self.seed).permutation


class FewShot(PerClass):
    """Fixed few-shot protocol: k training images per person, all others for testing, no validation.

    For split seed s: `r = numpy.random.RandomState(s)`; for each identity in order `p = r.permutation(n)` over its n
    images in order; the first k are training, the rest test.

    Args:
        train_per_identity: k, training images per person.
        seed: s; published figures use the ten seeds 0 to 9.
        few: handling of classes with too few images: `error`, `drop` these people, or `train` on them only.
        duplicates: handling of equal images: `error`, or `drop` all but the first.
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
        """Always False."""
        return False

    @property
    def keys(self) -> str:
        """The number of training images per person."""
        return f"split.train_per_identity={self.train_per_identity}"

    def cut(self, count: int) -> NDArray[np.int8] | None:
        """The first k images are for training; too few if none is left for testing."""
        if count <= self.train_per_identity:
            return None
        return np.where(np.arange(count) < self.train_per_identity, TRAIN, TEST).astype(np.int8)

    def shuffler(self) -> Callable[[Indices], Indices]:
        """One permutation of n numbers per person, as in the published protocol."""
        random = np.random.RandomState(self.seed)
        return lambda members: members[random.permutation(len(members))]


class IdentityDisjoint(Split):
    """Split by people: the first ones in order are for training, all others for testing; no validation.

    On AT&T with `train_people=20`: s1 to s20 train, s21 to s40 test.

    Args:
        train_people: number of people for training.
        duplicates: handling of equal images: `error`, or `drop` all but the first.
    """

    def __init__(self, train_people: Annotated[int, Field(ge=2)] = 20, duplicates: Duplicates = "error") -> None:
        self.train_people, self.duplicates = train_people, duplicates

    @property
    def title(self) -> str:
        """`20 people`."""
        return f"{self.train_people} people"

    @property
    def has_validation(self) -> bool:
        """Always False."""
        return False

    def divide(self, faces: FaceSet) -> Splits:
        """Split by people."""
        people = np.unique(faces.identities)
        if len(people) < self.train_people + 2:
            raise DataError(
                f"split.train_people={self.train_people}: {faces.source} holds {len(people)} people. At least two "
                f"must remain for testing. Lower it to {len(people) - 2} or less, or add people."
            )
        is_train = np.isin(faces.identities, people[: self.train_people])
        return Splits(train=np.flatnonzero(is_train), val=np.empty(0, dtype=np.int64), test=np.flatnonzero(~is_train))


class Official(Split):
    """The split a data set comes with: `root/train`, `root/test` and optionally `root/val` of `data=folder`.

    Without a val folder, training keeps the last weights. The test split may contain people without training images,
    for open-set protocols such as verification.

    Args:
        duplicates: handling of equal images: `error`, or `drop` all but one. The test image is kept, so that results
            are comparable with published ones, and its copies in val and train are dropped.
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
        """Always True, since the answer is unknown before the set is read."""
        return True

    def copies_order(self, faces: FaceSet) -> Indices:
        """Test images first, then val, then train."""
        return np.concatenate([np.flatnonzero(_parts_of(faces) == part) for part in ("test", "val", "train")])

    def divide(self, faces: FaceSet) -> Splits:
        """Split by the column `part`."""
        part = _parts_of(faces)
        train, val, test = (np.flatnonzero(part == name) for name in ("train", "val", "test"))
        missing = [name for name, indices in (("train", train), ("test", test)) if len(indices) == 0]
        if missing:
            raise DataError(
                f"split=official: {faces.source} has no images for {' and '.join(missing)}, only for "
                f"{', '.join(faces.columns[PART].names)}. Expected folders train and test. Rename one, or set "
                "data.root to one of them and type split=ratio, which splits it at random."
            )
        unseen = np.setdiff1d(faces.labels[val], faces.labels[train])
        if len(unseen):
            raise DataError(
                f"split=official: {len(unseen):,} classes of the val split of {faces.source} have no training image, "
                f"such as '{faces.label_names[unseen[0]]}'. A classifier cannot predict them. Add training images, or "
                "move these folders to test and type protocol=verification."
            )
        return Splits(train, val, test)


def _parts_of(faces: FaceSet) -> NDArray[np.object_]:
    if PART not in faces.columns:
        raise DataError(
            f"split=official: {faces.source} comes without a split. Expected data=folder and a data.root with folders "
            "train, test and optionally val, each with one folder per person. Or type split=ratio, which splits it at "
            "random."
        )
    return faces.columns[PART].texts


def _largest_remainder(total: int, shares: dict[str, float]) -> dict[str, int]:
    """Integers that sum to `total`, as close to the shares as possible."""
    exact = {part: total * share for part, share in shares.items()}
    counts = {part: int(value + 1e-9) for part, value in exact.items()}
    by_remainder = sorted(exact, key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: total - sum(counts.values())]:
        counts[part] += 1
    return counts
