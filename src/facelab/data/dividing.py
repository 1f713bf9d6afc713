"""Base classes of split rules: the result, classes with too few images, and the check for duplicates."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.data.copies import Duplicates, refuse_leaks, without_copies
from facelab.data.faces import PART, FaceSet
from facelab.errors import DataError

Few = Literal["error", "drop", "train"]
TRAIN, VAL, TEST, NOWHERE = 0, 1, 2, -1
_MOST_TRIED = 1000


@dataclass(frozen=True)
class Splits:
    """Disjoint image indices for train, val and test; `val` may be empty. `notes` lists left-out images and why."""

    train: Indices
    val: Indices
    test: Indices
    notes: tuple[str, ...] = ()

    def items(self) -> tuple[tuple[str, Indices], ...]:
        """Pairs of split name and indices."""
        return ("train", self.train), ("val", self.val), ("test", self.test)


class Split(ABC):
    """Base class of the rules that split a face set into train, val and test.

    `duplicates` sets the handling of equal images: `error` raises if equal images are in two splits or under two
    labels; `drop` keeps the first of them, and none if they are under two labels.
    """

    duplicates: Duplicates = "error"
    takes_parts: ClassVar[bool] = False  # whether it uses the split a source comes with

    @property
    @abstractmethod
    def title(self) -> str:
        """Short text for run names, such as `k=5 · split=0`."""

    @property
    @abstractmethod
    def has_validation(self) -> bool:
        """Whether there is a validation split; a search needs one, since it must not select by test results."""

    @abstractmethod
    def divide(self, faces: FaceSet) -> Splits:
        """Split a set without checks; call `split` instead, which also checks the result.

        Raises:
            DataError: a class has too few images.
        """

    def copies_order(self, faces: FaceSet) -> Indices:
        """Indices (N,) of all images; `duplicates=drop` keeps the first of several equal images in this order."""
        return np.arange(len(faces))


class PerClass(Split):
    """Base class of rules that shuffle the images of every class and cut them by count.

    `few` sets the handling of classes with too few images: `error` raises, `drop` leaves these people out, `train`
    puts all their images into training, without testing them. The split of the other classes does not depend on it.
    """

    few: Few = "error"

    @property
    @abstractmethod
    def keys(self) -> str:
        """The config keys that set how many images a class needs, such as `split.folds=5`."""

    @abstractmethod
    def cut(self, count: int) -> NDArray[np.int8] | None:
        """Split (count,), as TRAIN, VAL or TEST, of each position in a shuffled class; None if `count` is too small."""

    @abstractmethod
    def shuffler(self) -> Callable[[Indices], Indices]:
        """A function that shuffles the indices of one class; called once per class, in the order of the labels."""

    def divide(self, faces: FaceSet) -> Splits:
        """Split every class."""
        counts = np.bincount(faces.labels, minlength=len(faces.label_names))
        cuts = {count: self.cut(count) for count in np.unique(counts).tolist()}
        is_few = np.isin(counts, [count for count, cut in cuts.items() if cut is None])
        notes = self._settle_few(faces, counts, is_few) if is_few.any() else ()
        part = np.full(len(faces), NOWHERE, dtype=np.int8)
        # Group by sorting: a separate search for each of 50,000 labels would take 50,000 passes.
        members, start, shuffle = np.argsort(faces.labels, kind="stable"), 0, self.shuffler()
        for count in counts.tolist():
            cut = cuts[count]
            if cut is not None:
                part[shuffle(members[start : start + count])] = cut
            start += count
        if self.few == "train":
            part[is_few[faces.labels]] = TRAIN
        train, val, test = (np.flatnonzero(part == number) for number in (TRAIN, VAL, TEST))
        return Splits(train, val, test, notes)

    def _settle_few(self, faces: FaceSet, counts: NDArray[np.int64], is_few: NDArray[np.bool_]) -> tuple[str, ...]:
        """Return the note on classes with too few images, or raise an error if `few` does not allow them."""
        least = next((n for n in range(int(counts[is_few].max()) + 1, _MOST_TRIED) if self.cut(n) is not None), None)
        needs = f", which needs {least} per class" if least else ""
        few, images, left = int(is_few.sum()), int(counts[is_few].sum()), int((~is_few).sum())
        problem = (
            f"{few:,} of {len(counts):,} classes have too few images for {self.keys}{needs}: "
            f"{_sizes(counts[is_few])}, such as '{faces.label_names[int(np.flatnonzero(is_few)[0])]}'."
        )
        if self.few != "error" and left >= (2 if self.few == "drop" else 1):
            done = "left out" if self.few == "drop" else "used for training only"
            return (
                f"split.few={self.few}: {problem} Their {images:,} images are {done}; {left:,} classes are tested.",
            )
        if left < 2:
            raise DataError(f"{faces.source}: {problem} {left} classes have enough. Add images, or change {self.keys}.")
        raise DataError(
            f"{faces.source}: {problem} Add images, change {self.keys}, type split.few=drop to leave these people out "
            f"({images:,} images; {left:,} classes remain), or type split.few=train to use all their images for "
            "training and test on the others."
        )


def split(faces: FaceSet, rule: Split) -> Splits:
    """Split a face set and check that no image, nor a copy of it, is in two splits.

    Raises:
        DataError: a class has too few images, equal images are in two splits or under two labels, or the set comes
            with a split that the rule would ignore.
    """
    part = faces.columns.get(PART)
    if part is not None and not rule.takes_parts:
        counts = np.bincount(part.codes)
        seen = ", ".join(f"{name} ({count:,} images)" for name, count in zip(part.names, counts, strict=True))
        raise DataError(
            f"{faces.source} comes with a split: {seen}. Type split=official to use it, or data.root="
            f"{faces.source}/{faces.names[0].split('/')[0]} to split one of these folders."
        )
    kept, notes = without_copies(faces, rule.duplicates, rule.copies_order(faces))
    if len(kept) < len(faces):
        splits = rule.divide(faces.only(kept))
        splits = replace(splits, train=kept[splits.train], val=kept[splits.val], test=kept[splits.test])
    else:
        splits = rule.divide(faces)
        refuse_leaks(faces, dict(splits.items()))
    return replace(splits, notes=notes + splits.notes)


def prepare(faces: FaceSet, rule: Split) -> tuple[FaceSet, Splits]:
    """Split a face set, and remove the images and people that the rule leaves out.

    Returns:
        The set of the remaining images, with the classes of the training images numbered first, and its splits; the
        set itself if nothing was left out and its classes are in that order.

    Raises:
        DataError: as for `split`.
    """
    splits = split(faces, rule)
    used = np.sort(np.concatenate([indices for _, indices in splits.items()]))
    if splits.notes and len(used) < len(faces):
        train, val, test = (np.searchsorted(used, indices) for _, indices in splits.items())
        faces, splits = faces.only(used), Splits(train, val, test, splits.notes)
    trained = np.unique(faces.labels[splits.train])
    # A classifier has one output per training class, so these are numbered first.
    return faces if trained[-1] < len(trained) else faces.with_first(trained), splits


def _sizes(counts: NDArray[np.int64]) -> str:
    """Number of classes by number of images, as text: `4,069 have 1, 779 have 2`."""
    sizes, classes = np.unique(counts, return_counts=True)
    shown = [f"{many:,} {'has' if many == 1 else 'have'} {size:,}" for size, many in zip(sizes, classes, strict=True)]
    return ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")
