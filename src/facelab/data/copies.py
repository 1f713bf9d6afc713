"""Pictures that a set holds more than once: found, left out, or refused with a list of them all."""

import csv
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facelab.data.cache import cache_folder
from facelab.data.faces import FaceSet
from facelab.errors import DataError

Duplicates = Literal["error", "drop"]
Indices = NDArray[np.int64]
Pair = tuple[int, int]  # numbers of two pictures of equal content

_SHOWN = 20
LIST_NAME = "facelab-duplicates.csv"


def first_copies(faces: FaceSet, order: Indices) -> Indices:
    """(N,) int64: for each picture the first one of equal content, itself where it is the first.

    Args:
        faces: the set.
        order: (N,) numbers of all pictures, in the order by which one is the first.
    """
    first, seen = np.empty(len(faces), dtype=np.int64), dict[str, int]()
    digests = faces.digests
    for index in order.tolist():
        first[index] = seen.setdefault(digests[index], index)
    return first


def without_copies(faces: FaceSet, duplicates: Duplicates, order: Indices) -> tuple[Indices, tuple[str, ...]]:
    """The pictures that stay, and what to say about the others.

    With `drop` the first of several equal pictures stays, unless they stand under two labels: then none stays, since
    nobody can tell which label is right.

    Args:
        faces: the set.
        duplicates: what to do about equal pictures; with `error` those of one class stay.
        order: as for `first_copies`.

    Raises:
        DataError: with `error`, a picture stands under two labels; with `drop`, fewer than two classes would stay.
    """
    first = first_copies(faces, order)
    is_copy = first != np.arange(len(faces))
    disputed = is_copy & (faces.labels != faces.labels[first])
    if duplicates == "error":
        if disputed.any():
            _refuse_two_labels(faces, first, disputed)
        return np.arange(len(faces)), ()
    in_dispute = np.isin(first, first[disputed])
    kept = np.flatnonzero(~is_copy & ~in_dispute)
    dropped, disputes = int((is_copy & ~in_dispute).sum()), int(in_dispute.sum())
    notes = []
    if dropped:
        notes.append(f"split.duplicates=drop: {dropped:,} pictures are copies of another one and are left out.")
    if disputes:
        notes.append(
            f"split.duplicates=drop: {disputes:,} pictures are copies of each other under two labels and are all left "
            "out, since nobody can tell which label is right."
        )
    classes = len(np.unique(faces.labels[kept]))
    if notes and classes < 2:
        raise DataError(f"{' '.join(notes)} So {classes} classes stay, and a recogniser needs at least two.")
    return kept, tuple(notes)


def refuse_leaks(faces: FaceSet, splits: Mapping[str, Indices]) -> None:
    """See that no picture of one part is equal to one of another.

    Args:
        faces: the set.
        splits: numbers of pictures by part.

    Raises:
        DataError: some are; with all of them.
    """
    part = np.full(len(faces), "", dtype="<U5")
    for name, indices in splits.items():
        part[indices] = name
    used = np.concatenate(list(splits.values()))
    left_out = np.flatnonzero(part == "")
    first = first_copies(faces, np.concatenate([used, left_out]))
    leaks = np.flatnonzero((part != part[first]) & (part != ""))
    if len(leaks):
        pairs = [(int(first[index]), int(index)) for index in leaks]
        raise DataError(
            f"{len(leaks):,} pictures of {faces.source} are equal to one in another part of the split, so that a test "
            "would be asked what was trained on. Delete one of each pair, or leave one out with "
            f"split.duplicates=drop:{_listed(faces, pairs, part)}"
        )


def _refuse_two_labels(faces: FaceSet, first: Indices, disputed: NDArray[np.bool_]) -> None:
    pairs = [(int(first[index]), int(index)) for index in np.flatnonzero(disputed)]
    raise DataError(
        f"{len(pairs):,} pictures of {faces.source} are equal to one under another label, so that one of the two "
        "labels is wrong. Delete the wrong one of each pair, or leave both out with "
        f"split.duplicates=drop:{_listed(faces, pairs, faces.columns.get('part'))}"
    )


def _listed(faces: FaceSet, pairs: Sequence[Pair], part: NDArray[np.str_] | None) -> str:
    """The pairs as lines; the first ones of many, and where all of them are."""

    def described(index: int) -> tuple[str, str, str]:
        in_part = "" if part is None else str(part[index])
        return faces.names[index], faces.label_names[faces.labels[index]], in_part

    lines = []
    for one, other in pairs[:_SHOWN]:
        (name, label, in_part), (other_name, other_label, other_part) = described(one), described(other)
        left, right = (", ".join(filter(None, texts)) for texts in ((label, in_part), (other_label, other_part)))
        lines.append(f"{name} ({left}) = {other_name} ({right})")
    if len(pairs) > _SHOWN:
        rows = ((*described(one), *described(other)) for one, other in pairs)
        header = ("picture", "class", "part", "same_as", "same_as_class", "same_as_part")
        try:
            lines.append(f"... and {len(pairs) - _SHOWN:,} more. All are in {_write([header, *rows], faces.source)}")
        except OSError as error:
            lines.append(f"... and {len(pairs) - _SHOWN:,} more. The list of all cannot be written: {error}")
    return "".join(f"\n  - {line}" for line in lines)


def _write(rows: Sequence[Sequence[str]], source: str) -> Path:
    """Write a table into the working folder, or, where that lies in the data, into the cache folder."""
    folder = Path.cwd()
    if Path(source).is_absolute() and folder.resolve().is_relative_to(Path(source).resolve()):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = folder / LIST_NAME
    with tempfile.NamedTemporaryFile("w", dir=folder, encoding="utf-8", newline="", delete=False) as file:
        csv.writer(file).writerows(rows)
    return Path(file.name).replace(place)
