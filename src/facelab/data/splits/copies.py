"""Duplicate images in a set: find them, drop them, or raise an error that lists them."""

import csv
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from facelab.data.cache import cache_folder
from facelab.data.columns import Indices
from facelab.data.faces import PART, FaceSet
from facelab.errors import DataError

Duplicates = Literal["error", "drop"]
Pair = tuple[int, int]  # indices of two images of equal content

_SHOWN = 20
LIST_NAME = "facelab-duplicates.csv"


def first_copies(faces: FaceSet, order: Indices) -> Indices:
    """Index (N,) int64 of the first image of equal content, for each image.

    Args:
        faces: the face set.
        order: (N,) indices of all images; of equal images, the first one in this order counts.
    """
    digests, _ = pd.factorize(np.asarray(faces.digests, dtype=object))
    backwards = order[::-1]
    first = np.empty(len(faces), dtype=np.int64)
    first[digests[backwards]] = backwards  # of repeated indices the last assignment stays
    found: Indices = first[digests]
    return found


def without_copies(faces: FaceSet, duplicates: Duplicates, order: Indices) -> tuple[Indices, tuple[str, ...]]:
    """Indices of the images to keep, and notes about the dropped ones.

    `drop` keeps the first of several equal images. If they have different labels it drops them all, since the correct
    label is unknown.

    Args:
        faces: the face set.
        duplicates: handling of equal images; `error` keeps those of one class.
        order: as for `first_copies`.

    Raises:
        DataError: with `error`, equal images have different labels; with `drop`, fewer than two classes would remain.
    """
    first = first_copies(faces, order)
    is_copy = first != np.arange(len(faces))
    conflicts = is_copy & (faces.labels != faces.labels[first])
    if duplicates == "error":
        if conflicts.any():
            _refuse_two_labels(faces, first, conflicts)
        return np.arange(len(faces)), ()
    in_conflict = np.isin(first, first[conflicts])
    kept = np.flatnonzero(~is_copy & ~in_conflict)
    dropped, ambiguous = int((is_copy & ~in_conflict).sum()), int(in_conflict.sum())
    notes = []
    if dropped:
        notes.append(f"split.duplicates=drop: {dropped:,} images are copies of another one and are left out.")
    if ambiguous:
        notes.append(
            f"split.duplicates=drop: {ambiguous:,} images are copies of each other under two labels and are all left "
            "out, since the correct label is unknown."
        )
    classes = len(np.unique(faces.labels[kept]))
    if notes and classes < 2:
        raise DataError(
            f"{' '.join(notes)} {classes} classes remain; expected at least two. Add images, or correct the labels."
        )
    return kept, tuple(notes)


def refuse_leaks(faces: FaceSet, splits: Mapping[str, Indices]) -> None:
    """Check that no image of one split equals an image of another.

    Args:
        faces: the face set.
        splits: image indices by split.

    Raises:
        DataError: equal images are in two splits; lists them.
    """
    part = np.full(len(faces), "", dtype=object)
    for name, indices in splits.items():
        part[indices] = name
    used = np.concatenate(list(splits.values()))
    left_out = np.flatnonzero(part == "")
    first = first_copies(faces, np.concatenate([used, left_out]))
    leaks = np.flatnonzero((part != part[first]) & (part != ""))
    if len(leaks):
        pairs = [(int(first[index]), int(index)) for index in leaks]
        raise DataError(
            f"{len(leaks):,} images of {faces.source} equal an image in another split, which would leak between "
            "training and test. Delete one of each pair, or type split.duplicates=drop to leave one out:"
            f"{_listed(faces, pairs, part)}"
        )


def _refuse_two_labels(faces: FaceSet, first: Indices, conflicts: NDArray[np.bool_]) -> None:
    pairs = [(int(first[index]), int(index)) for index in np.flatnonzero(conflicts)]
    raise DataError(
        f"{len(pairs):,} images of {faces.source} equal an image with another label, so one of the two labels is "
        "wrong. Delete the wrong one of each pair, or type split.duplicates=drop to leave both out:"
        f"{_listed(faces, pairs, faces.columns[PART].texts if PART in faces.columns else None)}"
    )


def _listed(faces: FaceSet, pairs: Sequence[Pair], part: NDArray[np.object_] | None) -> str:
    """Format the pairs, one per line; write a long list to a file and show its first lines and its path."""

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
        header = ("image", "class", "part", "same_as", "same_as_class", "same_as_part")
        try:
            lines.append(f"... and {len(pairs) - _SHOWN:,} more. All are in {_write([header, *rows], faces.source)}")
        except OSError as error:
            lines.append(f"... and {len(pairs) - _SHOWN:,} more. The complete list could not be written: {error}")
    return "".join(f"\n  - {line}" for line in lines)


def _write(rows: Sequence[Sequence[str]], source: str) -> Path:
    """Write a CSV file to the working folder, or to the cache folder if the working folder is inside the data."""
    folder = Path.cwd()
    if Path(source).is_absolute() and folder.resolve().is_relative_to(Path(source).resolve()):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = folder / LIST_NAME
    with tempfile.NamedTemporaryFile("w", dir=folder, encoding="utf-8", newline="", delete=False) as file:
        csv.writer(file).writerows(rows)
    return Path(file.name).replace(place)
