"""Rules that split a face set into train, val and test."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facelab.data.columns import Indices
from facelab.data.splits.base import NOWHERE, TEST, TRAIN, VAL, Few, PerClass
from facelab.data.splits.copies import Duplicates
from facelab.data.splits.people import deal, draw_first, largest_remainder

Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Ratio(PerClass):
    """Random split of every class by shares: all splits contain the same classes, but no image twice.

    Where the label is not the person, people are dealt to the splits by these shares, see `deal`.

    Args:
        train: share for training.
        val: share for validation, which selects the best weights; may be 0.
        test: share for testing.
        seed: of the random split; independent of the training seed.
        few: handling of classes with too few images: `error`, `drop` them, or `train` on them only.
        share_identities: whether splits may share people if the label is not the group, such as an expression; null
            for no. If it is the group, or people are unknown, images are split.
        duplicates: handling of equal images: `error`, or `drop` all but the first.
    """

    def __init__(
        self,
        train: Fraction = 0.6,
        val: Fraction = 0.2,
        test: Fraction = 0.2,
        seed: Seed = 0,
        few: Few = "error",
        share_identities: bool | None = None,
        duplicates: Duplicates = "error",
    ) -> None:
        if abs(train + val + test - 1) > 1e-6:
            raise ValueError(f"train + val + test must be 1, got {train} + {val} + {test} = {train + val + test:g}")
        if train == 0 or test == 0:
            raise ValueError(f"train and test must be above 0, got train={train}, test={test}")
        self.shares, self.seed = {"train": train, "val": val, "test": test}, seed
        self.few, self.share_identities = few, share_identities
        self.duplicates = duplicates

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
        shares = list(self.shares.values())
        counts = largest_remainder(count, shares)
        if any(share > 0 and part == 0 for share, part in zip(shares, counts, strict=True)):
            return None
        return np.repeat(np.array([TRAIN, VAL, TEST], np.int8), counts)

    def shuffler(self) -> Callable[[Indices], Indices]:
        """A generator shared by all classes."""
        return np.random.default_rng(self.seed).permutation

    def cut_people(self, labels: Indices, groups: Indices) -> NDArray[np.int8]:
        """Deal people to the splits by the shares."""
        parts = [part for part, share in zip((TRAIN, VAL, TEST), self.shares.values(), strict=True) if share > 0]
        shares = [share for share in self.shares.values() if share > 0]
        return np.array(parts, np.int8)[deal(labels, groups, shares, np.random.default_rng(self.seed))]


class KFold(PerClass):
    """K-fold cross-validation, stratified by class: each fold tests on another part of every class's images.

    Each class is shuffled and cut into `folds` parts. Part `fold` is the test split, the next part (cyclically) is
    validation, the others are training. Over all folds every image is tested exactly once. If `folds` does not divide
    the number of a class's images, its first parts have one more. Where the label is not the person, people are dealt
    to the parts instead, see `deal`.

    Args:
        folds: number of parts.
        fold: the part that is the test split, from 0.
        validation: whether the next part is the validation split, which selects the best weights; if not, it is for
            training too.
        seed: of the shuffle, the same for all folds; independent of the training seed.
        few: handling of classes with too few images: `error`, `drop` them, or `train` on them only.
        share_identities: whether splits may share people if the label is not the group, such as an expression; null
            for no. If it is the group, or people are unknown, images are split.
        duplicates: handling of equal images: `error`, or `drop` all but the first.
    """

    def __init__(
        self,
        folds: Annotated[int, Field(ge=3)] = 5,
        fold: Annotated[int, Field(ge=0)] = 0,
        validation: bool = True,
        seed: Seed = 0,
        few: Few = "error",
        share_identities: bool | None = None,
        duplicates: Duplicates = "error",
    ) -> None:
        check_fold(folds, fold)
        self.folds, self.fold, self.seed, self.validation = folds, fold, seed, validation
        self.few, self.share_identities = few, share_identities
        self.duplicates = duplicates

    @property
    def title(self) -> str:
        """`fold=0/5 · split=0`."""
        return f"fold={self.fold}/{self.folds} · split={self.seed}"

    @property
    def has_validation(self) -> bool:
        """Whether a part is for validation."""
        return self.validation

    @property
    def keys(self) -> str:
        """The number of parts."""
        return f"split.folds={self.folds}"

    def cut(self, count: int) -> NDArray[np.int8] | None:
        """Parts of equal size up to one image; too few if a part would be empty."""
        if count < self.folds:
            return None
        sizes = np.full(self.folds, count // self.folds)
        sizes[: count % self.folds] += 1
        return np.repeat(self._parts(), sizes)

    def shuffler(self) -> Callable[[Indices], Indices]:
        """A generator shared by all classes."""
        return np.random.default_rng(self.seed).permutation

    def cut_people(self, labels: Indices, groups: Indices) -> NDArray[np.int8]:
        """Deal people to the folds in equal numbers."""
        fold = deal(labels, groups, [1 / self.folds] * self.folds, np.random.default_rng(self.seed))
        return self._parts()[fold]

    def _parts(self) -> NDArray[np.int8]:
        part = np.full(self.folds, TRAIN, dtype=np.int8)
        if self.validation:
            part[(self.fold + 1) % self.folds] = VAL
        part[self.fold] = TEST
        return part


class FewShot(PerClass):
    """Fixed few-shot protocol: k training images per class, all others for testing, no validation.

    For split seed s: `r = numpy.random.RandomState(s)`; for each identity in order `p = r.permutation(n)` over its n
    images in order; the first k are training, the rest test.

    Where the label is not the person, such as an expression, nobody is in both: all classes go through the people in
    the same random order, and each takes the first k images in that order, at random within a person. The people of
    these images are for training, and their further images are left out; all images of all other people are the test.

    Args:
        train_per_identity: k, training images per class.
        seed: s; published figures use the ten seeds 0 to 9.
        few: handling of classes with too few images: `error`, `drop` them, or `train` on them only.
        share_identities: whether splits may share people if the label is not the group, such as an expression; null
            for no. If it is the group, or people are unknown, images are split.
        duplicates: handling of equal images: `error`, or `drop` all but the first.
    """

    counted: ClassVar[Literal["images", "people"]] = "images"

    def __init__(
        self,
        train_per_identity: Annotated[int, Field(ge=1)] = 5,
        seed: Seed = 0,
        few: Few = "error",
        share_identities: bool | None = None,
        duplicates: Duplicates = "error",
    ) -> None:
        self.train_per_identity, self.seed = train_per_identity, seed
        self.few, self.share_identities = few, share_identities
        self.duplicates = duplicates

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

    def cut_people(self, labels: Indices, groups: Indices) -> NDArray[np.int8]:
        """Draw k images of each class from few people; test on the other people."""
        part = np.full(len(labels), NOWHERE, dtype=np.int8)
        train, test = draw_first(labels, groups, self.train_per_identity, np.random.default_rng(self.seed))
        part[train], part[test] = TRAIN, TEST
        return part


def check_fold(folds: int, fold: int) -> None:
    """Check the numbers of a cross-validation: at least 3 folds, and `fold` one of them, from 0.

    Raises:
        ValueError: a number is out of range.
    """
    if folds < 3:
        raise ValueError(f"folds must be 3 or more (test, validation and training), got {folds}")
    if not 0 <= fold < folds:
        raise ValueError(f"fold must be from 0 to folds - 1 = {folds - 1}, got {fold}")


class RotatedFewShot(FewShot):
    """Few-shot protocol in which every image trains equally often: the splits rotate one random order of the images.

    Each class is shuffled as in `FewShot` with seed 0. Split s trains on the k images from number s of that order on,
    the last followed by the first again. So with n images of each class, splits 0 to n - 1 train k times on each image,
    and split n begins with another order. Where the label is not the person, splits are those of `FewShot`. Arguments
    as for `FewShot`; `seed` is s.
    """

    def shuffler(self) -> Callable[[Indices], Indices]:
        """One permutation of n numbers per person, rotated; another one for every n splits."""
        random: dict[int, np.random.RandomState] = {}

        def rotated(members: Indices) -> Indices:
            order, place = divmod(self.seed, len(members))
            drawn = random.setdefault(order, np.random.RandomState(order)).permutation(len(members))
            return np.roll(members[drawn], -place)

        return rotated
