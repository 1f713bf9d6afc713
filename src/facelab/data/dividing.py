"""What every rule of division shares: the parts, classes with few pictures, and the check for copies."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from facelab.data.copies import Duplicates, Indices, refuse_leaks, without_copies
from facelab.data.faces import FaceSet
from facelab.errors import DataError

Few = Literal["error", "drop", "train"]
TRAIN, VAL, TEST, NOWHERE = 0, 1, 2, -1
_MOST_TRIED = 1000


@dataclass(frozen=True)
class Splits:
    """Numbers of pictures, each in one part at most; `val` may be empty. `notes` says what was left out and why."""

    train: Indices
    val: Indices
    test: Indices
    notes: tuple[str, ...] = ()

    def items(self) -> tuple[tuple[str, Indices], ...]:
        """The parts by name."""
        return ("train", self.train), ("val", self.val), ("test", self.test)


class Split(ABC):
    """A rule that divides a face set.

    `duplicates` says what is done about equal pictures: `error` stops where one is in two parts or under two labels,
    `drop` keeps the first of them, and none of those under two labels.
    """

    duplicates: Duplicates = "error"
    takes_parts: ClassVar[bool] = False  # whether it goes by the parts that a source already has

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

    def copies_order(self, faces: FaceSet) -> Indices:
        """(N,) numbers of all pictures, those first that stay where `duplicates=drop` leaves copies out."""
        return np.arange(len(faces))


class PerClass(Split):
    """A rule that shuffles every class's pictures and cuts them up by number.

    `few` says what is done about classes with too few pictures: `error` stops, `drop` leaves these people out, `train`
    puts all their pictures into training, so that they are learnt and not tested. Neither changes how the other
    classes are divided.
    """

    few: Few = "error"

    @property
    @abstractmethod
    def keys(self) -> str:
        """What decides how many pictures a class needs, as one would type it, such as `split.folds=5`."""

    @abstractmethod
    def cut(self, count: int) -> NDArray[np.int8] | None:
        """(count,) the part, TRAIN, VAL or TEST, of each place in a shuffled class; None if `count` is too few."""

    @abstractmethod
    def shuffler(self) -> Callable[[Indices], Indices]:
        """A function that shuffles one class after the other, in the order of the labels."""

    def divide(self, faces: FaceSet) -> Splits:
        """Divide every class."""
        counts = np.bincount(faces.labels, minlength=len(faces.label_names))
        cuts = {count: self.cut(count) for count in np.unique(counts).tolist()}
        is_few = np.isin(counts, [count for count, cut in cuts.items() if cut is None])
        notes = self._settle_few(faces, counts, is_few) if is_few.any() else ()
        part = np.full(len(faces), NOWHERE, dtype=np.int8)
        # Grouped by sorting: a search for each of 50,000 labels would read all labels 50,000 times.
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
        """What to say about classes with too few pictures; stops unless that is allowed for."""
        least = next((n for n in range(int(counts[is_few].max()) + 1, _MOST_TRIED) if self.cut(n) is not None), None)
        needs = f", which needs {least} a class" if least else ""
        few, pictures, left = int(is_few.sum()), int(counts[is_few].sum()), int((~is_few).sum())
        what = (
            f"{few:,} of {len(counts):,} classes have too few pictures for {self.keys}{needs}: "
            f"{_sizes(counts[is_few])}, '{faces.label_names[int(np.flatnonzero(is_few)[0])]}' among them."
        )
        if self.few != "error" and left >= (2 if self.few == "drop" else 1):
            done = "left out" if self.few == "drop" else "in training only: these people are learnt and not tested"
            return (
                f"split.few={self.few}: {what} Their {pictures:,} pictures are {done}; {left:,} classes are tested.",
            )
        if left < 2:
            raise DataError(f"{faces.source}: {what} {left} classes have enough. Add pictures, or change {self.keys}.")
        raise DataError(
            f"{faces.source}: {what} Add pictures, change {self.keys}, or type split.few=drop to leave these people "
            f"out ({pictures:,} pictures; {left:,} classes stay), or split.few=train to put all their pictures into "
            "training and test on the others."
        )


def split(faces: FaceSet, rule: Split) -> Splits:
    """Divide a set and make sure that no picture is in two parts, not even as a copy.

    Raises:
        DataError: too few pictures in a class, equal pictures in two parts or under two labels, or a set that is
            already divided and a rule that would do it anew.
    """
    part = faces.columns.get("part")
    if part is not None and not rule.takes_parts:
        names, counts = np.unique(part, return_counts=True)
        seen = ", ".join(f"{name} ({count:,} pictures)" for name, count in zip(names, counts, strict=True))
        raise DataError(
            f"{faces.source} is already divided: it holds {seen}. Type split=official to keep to that, or data.root="
            f"{faces.source}/{faces.names[0].split('/')[0]} to divide one of these folders anew."
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
    """Divide a set by `split`, and leave out of it what the rule leaves out, people included.

    Returns:
        The set of the pictures that are in a part, its classes numbered without gaps, and its parts; the set itself
        where nothing was left out.

    Raises:
        DataError: as for `split`.
    """
    splits = split(faces, rule)
    used = np.sort(np.concatenate([indices for _, indices in splits.items()]))
    if not splits.notes or len(used) == len(faces):
        return faces, splits
    train, val, test = (np.searchsorted(used, indices) for _, indices in splits.items())
    return faces.only(used), Splits(train, val, test, splits.notes)


def _sizes(counts: NDArray[np.int64]) -> str:
    """How many classes have how many pictures: `4,069 have 1, 779 have 2`."""
    sizes, classes = np.unique(counts, return_counts=True)
    shown = [f"{many:,} {'has' if many == 1 else 'have'} {size:,}" for size, many in zip(sizes, classes, strict=True)]
    return ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")
