"""Lists of image pairs to compare: LFW's, CSV and Parquet tables, and sets that consist of pairs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.listing import place_of_name, some_of
from facelab.data.source import readable
from facelab.data.sources.lfw import read_pairs
from facelab.data.tables import Table, read_table
from facelab.errors import DataError

PAIR, GENUINE = "pair", "genuine"  # columns of a set that consists of pairs, as `data=bin` has them
_TABLES = (".csv", ".tsv", ".parquet")
_YES, _NO = ("yes", "true", "1", "same"), ("no", "false", "0", "different")


@dataclass(frozen=True)
class PairList:
    """Pairs of images of a face set.

    Args:
        name: display name, such as `pairs.txt`.
        first: (P,) int64, indices of the first images.
        second: (P,) int64, indices of the second images.
        genuine: (P,) bool, whether both show one person.
        fold: (P,) int64, from 0.
    """

    name: str
    first: Indices
    second: Indices
    genuine: NDArray[np.bool_]
    fold: Indices

    def __len__(self) -> int:
        return len(self.first)

    def only(self, chosen: NDArray[np.bool_]) -> "PairList":
        """The pairs (P,) that are chosen."""
        return PairList(self.name, self.first[chosen], self.second[chosen], self.genuine[chosen], self.fold[chosen])

    def within(self, images: Indices) -> "PairList":
        """The pairs whose images are both among these indices."""
        return self.only(np.isin(self.first, images) & np.isin(self.second, images))


def is_of_pairs(faces: FaceSet) -> bool:
    """Whether a face set consists of pairs, as verification sets do."""
    return PAIR in faces.columns and GENUINE in faces.columns


def has_only_pairs(faces: FaceSet) -> bool:
    """Whether a face set consists of pairs of unknown people."""
    return is_of_pairs(faces) and not faces.has_identities


def own_pairs(faces: FaceSet) -> PairList:
    """The pairs of a face set that consists of pairs; a pair of which an image was left out is left out.

    Args:
        faces: with the columns `pair` and `genuine`.

    Raises:
        DataError: a pair has more than two images.
    """
    column = faces.columns[PAIR]
    paired = np.flatnonzero(column.codes >= 0)
    order = paired[np.argsort(column.codes[paired], kind="stable")]
    pairs, starts, counts = np.unique(column.codes[order], return_index=True, return_counts=True)
    if (counts > 2).any():
        large = counts.argmax()
        raise DataError(
            f"{faces.source}: {(counts > 2).sum():,} values of the column '{PAIR}' have more than two images, such as "
            f"'{column.names[pairs[large]]}' with {counts[large]:,}. Give each pair a value of its own."
        )
    first = order[starts[counts == 2]]
    second = order[starts[counts == 2] + 1]
    genuine = faces.columns[GENUINE].texts[first] == "yes"
    return PairList(faces.name, first, second, genuine.astype(bool), np.zeros(len(first), np.int64))


def read_pair_list(path: str, faces: FaceSet, key: str) -> PairList:
    """Read a list of pairs of a face set.

    A file whose name ends in .csv, .tsv or .parquet is a table with the columns `first` and `second` (names of images,
    as `facelab check` shows them, with or without the suffix), `genuine` (yes or no, true or false, 1 or 0) and
    optionally `fold` (a number from 0). Any other file has the form of LFW's `pairs.txt` and `pairsDevTest.txt`.
    Pairs with an image that the split left out are passed over.

    Args:
        path: of the file.
        faces: the face set, after the split.
        key: of the config that names the file, for messages.

    Raises:
        DataError: the file is unusable, or names images that the face set does not have: how many, the first five.
    """
    where = f"{key}: {readable(str(Path(path).absolute()))}"
    table = Path(path).suffix.lower() in _TABLES
    names, genuine, fold = _of_table(read_table(path, key, "first"), where) if table else _of_lfw(path, key)
    known = place_of_name(faces.names)
    loaded = faces if faces.loaded is None else faces.loaded
    there = known if loaded is faces else place_of_name(loaded.names)
    absent = list(dict.fromkeys(name for pair in names for name in pair if name not in there))
    if absent:
        raise DataError(
            f"{where} names {len(absent):,} images that {loaded.source} does not have: {some_of(absent)}. Expected "
            f"names such as {loaded.names[0]}. Add the images, correct the list, or set data.root to the right folder."
        )
    places = np.array([[known.get(name, -1) for name in pair] for pair in names], dtype=np.int64).reshape(-1, 2)
    found = PairList(readable(Path(path).name), places[:, 0], places[:, 1], genuine, fold)
    return found.only((places[:, 0] >= 0) & (places[:, 1] >= 0))


_Read = tuple[list[tuple[str, str]], NDArray[np.bool_], Indices]


def _of_lfw(path: str, key: str) -> _Read:
    pairs = read_pairs(path, key)
    names = [(_lfw_name(*pair.first), _lfw_name(*pair.second)) for pair in pairs]
    return names, np.array([pair.is_same for pair in pairs]), np.array([pair.fold for pair in pairs], np.int64)


def _lfw_name(person: str, number: int) -> str:
    return f"{person}/{person}_{number:04}"


def _of_table(table: Table, where: str) -> _Read:
    missing = [name for name in ("first", "second", GENUINE) if name not in table]
    if missing:
        raise DataError(
            f"{where} has no column {' and no column '.join(missing)}; its columns: {', '.join(table)}. Expected "
            "first, second, genuine and optionally fold."
        )
    names = list(zip(table["first"], table["second"], strict=True))
    same = [text.strip().lower() for text in table[GENUINE]]
    folds = table.get("fold", ["0"] * len(names))
    for row, (pair, text, fold) in enumerate(zip(names, same, folds, strict=True), start=2):
        if not all(pair) or text not in (*_YES, *_NO) or not (fold.isdecimal() and len(fold) < 5):
            raise DataError(
                f"{where}, row {row}: first '{pair[0]}', second '{pair[1]}', genuine '{text}', fold '{fold}'. Expected "
                "two names, yes or no, and a number from 0 if there are folds."
            )
    return names, np.isin(same, _YES), np.array([int(fold) for fold in folds], np.int64)
