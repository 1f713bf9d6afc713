"""Base classes of split rules: the result, classes with too few images, and the checks of every split."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.data.faces import PART, FaceSet
from facelab.data.splits.copies import Duplicates, refuse_leaks, without_copies
from facelab.data.splits.people import groups_per_class, refuse_shared, require_known
from facelab.errors import DataError

Few = Literal["error", "drop", "train"]
TRAIN, VAL, TEST, NOWHERE = 0, 1, 2, -1
_MOST_TRIED = 1000


@dataclass(frozen=True)
class Splits:
    """Disjoint image indices for train, val and test; `val` may be empty.

    `notes` are sentences for the user: what is left out and why, who is tested.
    """

    train: Indices
    val: Indices
    test: Indices
    notes: tuple[str, ...] = ()

    def items(self) -> tuple[tuple[str, Indices], ...]:
        """Pairs of split name and indices."""
        return ("train", self.train), ("val", self.val), ("test", self.test)

    def fingerprint(self, faces: FaceSet) -> str:
        """SHA-256 over the names of the images and the part of each; the config alone does not determine it.

        The parts that a set comes with, and those of a list of pairs, are in files, which can change.

        Args:
            faces: the set that was split.
        """
        part = np.full(len(faces), "", dtype=object)
        for name, indices in self.items():
            part[indices] = name
        lines = (f"{name}\t{its}" for name, its in zip(faces.names, part, strict=True) if its)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


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

    def disjoint_column(self, faces: FaceSet) -> str | None:
        """The column of which no value may be in two splits, such as `identity`; None if splits may share people."""
        return None

    def copies_order(self, faces: FaceSet) -> Indices:
        """Indices (N,) of all images; `duplicates=drop` keeps the first of several equal images in this order."""
        return np.arange(len(faces))


class PerClass(Split):
    """Base class of rules that cut every class by count.

    If the label is the group, such as the identity, or people are unknown, the images of every class are shuffled and
    cut. If the label is something else, such as the expression, people are dealt to the splits, so that nobody is in
    two of them, unless `share_identities` is true.

    `few` sets the handling of classes with too few images (or people): `error` raises, `drop` leaves their images out,
    `train` puts them into training only. The split of the other classes does not depend on it.
    """

    few: Few = "error"
    share_identities: bool | None = None
    counted: ClassVar[Literal["images", "people"]] = "people"  # what a class needs enough of

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

    @abstractmethod
    def cut_people(self, labels: Indices, groups: Indices) -> NDArray[np.int8]:
        """Split (N,), as TRAIN, VAL, TEST or NOWHERE, of images with these labels and groups (N,); no group in two."""

    def disjoint_column(self, faces: FaceSet) -> str | None:
        """The group, unless it is the label, is unknown, or may be shared."""
        if self.share_identities is False:
            if faces.group == faces.label:
                raise DataError(
                    f"split.share_identities=false: {self.keys} splits the images of every '{faces.label}', which is "
                    "the label, so all splits share them. For a test on unseen people, type split=identity_disjoint or "
                    "split=group_kfold."
                )
            require_known(faces, faces.group, np.arange(len(faces)), "split.share_identities=false")
        is_split_by_image = self.share_identities or faces.group == faces.label or faces.group not in faces.columns
        return None if is_split_by_image else faces.group

    def divide(self, faces: FaceSet) -> Splits:
        """Split every class, by images or by people."""
        return self._divide_images(faces) if self.disjoint_column(faces) is None else self._divide_people(faces)

    def _divide_images(self, faces: FaceSet) -> Splits:
        counts = np.bincount(faces.labels, minlength=len(faces.label_names))
        cuts = {count: self.cut(count) for count in np.unique(counts).tolist()}
        is_few = np.isin(counts, [count for count, cut in cuts.items() if cut is None])
        notes = self._settle_few(faces, counts, is_few, "images") if is_few.any() else ()
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
        return _splits_of(part, notes)

    def _divide_people(self, faces: FaceSet) -> Splits:
        labels, (_, groups) = faces.labels, np.unique(faces.groups, return_inverse=True)
        counts = np.bincount(labels, minlength=len(faces.label_names))
        if self.counted == "people":
            counts = groups_per_class(labels, groups, len(counts))
        is_few = np.isin(counts, [count for count in np.unique(counts).tolist() if self.cut(count) is None])
        notes = self._settle_few(faces, counts, is_few, self.counted) if is_few.any() else ()
        part = np.full(len(faces), NOWHERE, dtype=np.int8)
        enough = np.flatnonzero(~is_few[labels])
        part[enough] = self.cut_people(labels[enough], groups[enough])
        undrawn = int((part[enough] == NOWHERE).sum())
        if undrawn:
            notes += (
                f"split.share_identities: {undrawn:,} further images of the people in training are left out, since "
                "nobody is in two splits.",
            )
        if self.few == "train":
            trained = np.isin(groups, groups[part == TRAIN])
            part[is_few[labels] & trained] = TRAIN
        return _splits_of(part, notes + self._lacking(faces, part))

    def _lacking(self, faces: FaceSet, part: NDArray[np.int8]) -> tuple[str, ...]:
        """The note on classes without test images; raises if a class has no training images, or all have no test."""
        trained, tested = (np.unique(faces.labels[part == number]) for number in (TRAIN, TEST))
        untrained = np.setdiff1d(faces.labels[part != NOWHERE], trained)
        if len(untrained):
            raise DataError(
                f"{faces.source}: {len(untrained):,} classes, such as '{faces.label_names[untrained[0]]}', have no "
                "training images, since few people have them and nobody is in two splits. Choose another split.seed, "
                f"change {self.keys}, or type split.share_identities=true to let the splits share people."
            )
        if not len(tested):
            raise DataError(
                f"{faces.source}: {self.keys} needs all people for training, since nobody is in two splits. Lower it, "
                "add people, or type split.share_identities=true to let the splits share people."
            )
        untested = np.setdiff1d(trained, tested) if self.few != "train" else tested[:0]
        if not len(untested):
            return ()
        return (
            f"{len(untested):,} classes, such as '{faces.label_names[untested[0]]}', have no test images in this "
            "split, since few people have them; precision, recall and F1 are means over the other classes.",
        )

    def _settle_few(
        self, faces: FaceSet, counts: NDArray[np.int64], is_few: NDArray[np.bool_], unit: Literal["images", "people"]
    ) -> tuple[str, ...]:
        """Return the note on classes with too few images or people, or raise an error if `few` does not allow them."""
        least = next((n for n in range(int(counts[is_few].max()) + 1, _MOST_TRIED) if self.cut(n) is not None), None)
        needs = f", which needs {least} per class" if least else ""
        few, images, left = int(is_few.sum()), int(is_few[faces.labels].sum()), int((~is_few).sum())
        problem = (
            f"{few:,} of {len(counts):,} classes have too few {unit} for {self.keys}{needs}: "
            f"{_sizes(counts[is_few])}, such as '{faces.label_names[int(np.flatnonzero(is_few)[0])]}'."
        )
        if self.few != "error" and left >= (2 if self.few == "drop" else 1):
            train = "used for training only" + (", where the person is in training" if unit == "people" else "")
            done = "left out" if self.few == "drop" else train
            return (
                f"split.few={self.few}: {problem} Their {images:,} images are {done}; {left:,} classes are tested.",
            )
        share = ", or type split.share_identities=true to let the splits share people" if unit == "people" else ""
        if left < 2:
            raise DataError(
                f"{faces.source}: {problem} {left} classes have enough. Add images, or change {self.keys}{share}."
            )
        whom = "these people" if faces.label == faces.group else "these classes"
        raise DataError(
            f"{faces.source}: {problem} Add images, change {self.keys}, type split.few=drop to leave {whom} out "
            f"({images:,} images; {left:,} classes remain), or type split.few=train to use all their images for "
            f"training and test on the others{share}."
        )


def split(faces: FaceSet, rule: Split) -> Splits:
    """Split a face set and check that no image, nor a copy of it, nor a person of a disjoint rule is in two splits.

    Raises:
        DataError: a class has too few images, equal images are in two splits or under two labels, a rule that
            declares itself disjoint shares a person, or the set comes with a split that the rule would ignore.
    """
    part = faces.columns.get(PART)
    if part is not None and not rule.takes_parts:
        counts = np.bincount(part.codes[part.codes >= 0], minlength=len(part.names))
        seen = ", ".join(f"{name} ({count:,} images)" for name, count in zip(part.names, counts, strict=True))
        folder = Path(faces.source) / faces.names[0].split("/")[0]
        alone = (
            f"type data.root={folder} to split one of these folders"
            if folder.name in part.names
            else (f"leave out or rename the column '{PART}'")
        )
        raise DataError(f"{faces.source} comes with a split: {seen}. Type split=official to use it, or {alone}.")
    kept, notes = without_copies(faces, rule.duplicates, rule.copies_order(faces))
    if len(kept) < len(faces):
        splits = rule.divide(faces.only(kept))
        splits = replace(splits, train=kept[splits.train], val=kept[splits.val], test=kept[splits.test])
    else:
        splits = rule.divide(faces)
        refuse_leaks(faces, dict(splits.items()))
    column = rule.disjoint_column(faces)
    if column is not None:
        refuse_shared(faces, column, splits.items(), type(rule).__name__)
    unused = len(kept) - sum(len(indices) for _, indices in splits.items())
    if unused and not splits.notes:  # a rule's own notes say what it leaves out
        notes += (f"{unused:,} of {len(faces):,} images belong to no split and are left out.",)
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
    if len(used) < len(faces):
        train, val, test = (np.searchsorted(used, indices) for _, indices in splits.items())
        faces, splits = faces.only(used), Splits(train, val, test, splits.notes)
    trained = np.unique(faces.labels[splits.train])
    if not len(trained):  # all are tested
        return faces, splits
    # A classifier has one output per training class, so these are numbered first.
    return faces if trained[-1] < len(trained) else faces.with_first(trained), splits


def _splits_of(part: NDArray[np.int8], notes: tuple[str, ...]) -> Splits:
    train, val, test = (np.flatnonzero(part == number) for number in (TRAIN, VAL, TEST))
    return Splits(train, val, test, notes)


def _sizes(counts: NDArray[np.int64]) -> str:
    """Number of classes by number of images, as text: `4,069 have 1, 779 have 2`."""
    sizes, classes = np.unique(counts, return_counts=True)
    shown = [f"{many:,} {'has' if many == 1 else 'have'} {size:,}" for size, many in zip(sizes, classes, strict=True)]
    return ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")
