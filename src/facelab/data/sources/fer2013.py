"""Data source for FER2013, facial expressions from web search."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from facelab.config.build import nearest
from facelab.data.encoded import ImageArrays, JoinedImages
from facelab.data.faces import IDENTITY, PART
from facelab.data.source import Channels, FaceSource, ImageSize, Rows, readable
from facelab.data.sources.folder import Folder
from facelab.errors import DataError

_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # 0 to 6
_PARTS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
_SIDE = 48
_AT_ONCE = 256  # rows: their text is about 2 MB
_SHOWN = 5

Pixels = NDArray[np.uint8]


@dataclass(kw_only=True)
class FER2013(FaceSource):
    """FER2013: 35,887 grey faces of 48 x 48 pixels with one of seven expressions.

    Format: `fer2013.csv` or `icml_face_data.csv` with the columns `emotion` (0 to 6), `pixels` (2,304 numbers
    separated by spaces) and `Usage`, in any order; or Kaggle's `train.csv`, without `Usage`, whose `test.csv` has no
    labels and is left out; or image folders `root/train/CLASS` and `root/test/CLASS`. Classes: angry, disgust, fear,
    happy, sad, surprise, neutral. Columns: `expression`, and `part`: Training, PublicTest and PrivateTest are train,
    val and test. People are unknown.
    Source: https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge,
    whose rules apply. I. J. Goodfellow et al., "Challenges in Representation Learning: A report on three machine
    learning contests", ICONIP 2013. Some images occur several times, also with different labels.

    Args:
        root: the CSV file, or the folder that holds it or the folders train and test.
    """

    name: ClassVar[str] = "fer2013"
    root: str
    image_size: ImageSize = _SIDE
    channels: Channels = 1
    label: str = "expression"

    def rows(self) -> Rows:
        """Read all CSV files, or list all images of the folders."""
        root = Path(self.root)
        where = f"data.root: {readable(str(root.absolute()))}"
        files = [root] if root.is_file() else _csv_files(root)
        if files:
            return _of_csv(self.name, root, files, where)
        if not root.is_dir() or not (root / "train").is_dir():
            raise DataError(
                f"{where} is neither a CSV file nor a folder that holds fer2013.csv, icml_face_data.csv, train.csv, or "
                "folders train and test. Hydra does not expand ~; type $HOME/... instead."
            )
        rows = Folder(root=self.root).listed()
        found = rows.columns[IDENTITY]
        for name in dict.fromkeys(found):
            if name.lower() not in _CLASSES:
                raise DataError(
                    f"{where}: '{readable(name)}' is not a class of FER2013.{nearest(name, _CLASSES)} Its classes: "
                    f"{', '.join(_CLASSES)}. Rename or move the folder."
                )
        columns = {"expression": [name.lower() for name in found]}
        return replace(rows, name=self.name, columns=columns | {PART: rows.columns[PART]})


def _csv_files(root: Path) -> list[Path]:
    """The CSV files of a folder that hold the most complete form of the set."""
    for names in (("fer2013.csv",), ("icml_face_data.csv",), ("train.csv", "test.csv")):
        files = [root / name for name in names if (root / name).is_file()]
        if files:
            return files
    return []


def _of_csv(name: str, root: Path, files: Sequence[Path], where: str) -> Rows:
    names, images, columns = [], [], {"expression": list[str](), PART: list[str]()}
    tables = {path: _read_csv(path, where) for path in files}
    labelled = {path: table for path, table in tables.items() if table.labels or not len(table.pixels)}
    notes = [f"{where}: {path.name} has no labels and is left out." for path in tables if path not in labelled]
    if not labelled:
        raise DataError(
            f"{where}: {files[0].name} has no column 'emotion', so its images have no labels. Use train.csv."
        )
    for path, table in labelled.items():
        names += [f"{path.stem}/{row}" for row in range(len(table.pixels))]
        images.append(ImageArrays(path, list(table.pixels)))
        columns["expression"] += table.labels
        # Without a column Usage, train.csv and test.csv are the parts if both have labels.
        columns[PART] += table.parts or [path.stem if len(labelled) > 1 else ""] * len(table.pixels)
    filled = {key: texts for key, texts in columns.items() if any(texts)}
    return Rows(name, root, names, JoinedImages(images), filled, notes=notes)


@dataclass(frozen=True)
class _Table:
    """A CSV file: images (N, 48, 48, 1) uint8, and N expressions and parts, or none if it lacks the column."""

    pixels: Pixels
    labels: list[str]
    parts: list[str]


def _read_csv(path: Path, where: str) -> _Table:
    """Read a CSV file in blocks, whose texts take four times the memory of the images.

    Raises:
        DataError: it has another form; says which lines.
    """
    found, problems, row = [], list[str](), 0
    try:
        with pd.read_csv(
            path, chunksize=_AT_ONCE, dtype=str, keep_default_na=False, encoding="utf-8-sig", encoding_errors="replace"
        ) as reader:
            for block in reader:
                table = block.rename(columns=str.strip).fillna("")
                table = table.loc[:, ~table.columns.duplicated()]
                if "pixels" not in table:
                    raise DataError(
                        f"{where}: {path.name} has no column 'pixels', but {', '.join(map(str, table.columns))[:200]}. "
                        "Expected emotion, pixels and Usage."
                    )
                one, in_block = _read_block(table, row + 2)
                found.append(one)
                problems += in_block
                row += len(table)
    except (ValueError, OSError) as error:
        raise DataError(f"{where}: {path.name} is not a CSV file ({str(error).splitlines()[0][:200]}).") from error
    if problems:
        raise DataError(
            f"{where}: {len(problems):,} values of {path.name} are unusable: {'; '.join(problems[:_SHOWN])}"
            f"{'; ...' if len(problems) > _SHOWN else ''}. Copy the file again."
        )
    pixels = np.concatenate([one.pixels for one in found]).reshape(-1, _SIDE, _SIDE, 1)
    return _Table(pixels, [text for one in found for text in one.labels], [text for one in found for text in one.parts])


def _read_block(table: pd.DataFrame, line: int) -> tuple[_Table, list[str]]:
    """Some rows of a CSV file, and what is wrong with them.

    Args:
        table: N rows.
        line: of the first of them in the file.
    """
    pixels, bad = _parsed(table["pixels"].tolist())
    problems = [f"line {line + row}: not 2,304 pixels from 0 to 255" for row in bad]
    texts = dict[str, list[str]]()
    for column, names in (("emotion", {str(number): name for number, name in enumerate(_CLASSES)}), ("Usage", _PARTS)):
        given = [text.strip() for text in table[column].tolist()] if column in table else []
        texts[column] = [names.get(text, "") for text in given]
        problems += [
            f"line {line + row}: {column} '{text[:40]}' is none of {', '.join(names)}"
            for row, text in enumerate(given)
            if text not in names
        ]
    return _Table(pixels, texts["emotion"], texts["Usage"]), problems


def _parsed(texts: Sequence[str]) -> tuple[Pixels, list[int]]:
    """Parse the pixels of N rows.

    Returns:
        (N, 2304) uint8, or no pixels and the rows that are not 2,304 numbers from 0 to 255.
    """
    values, counts = _numbers(texts)
    if values is not None and counts.tolist() == [_SIDE**2] * len(texts):
        return values.reshape(-1, _SIDE**2), []
    bad = [row for row, text in enumerate(texts) if len(texts) == 1 or _parsed([text])[1]]
    return np.empty((0, _SIDE**2), np.uint8), bad


def _numbers(texts: Sequence[str]) -> tuple[Pixels | None, NDArray[np.int64]]:
    """Numbers in rows of text, without a Python object for each: FER2013 has 83 million.

    Returns:
        All numbers, or None if something is not a number from 0 to 255; and how many there are in each row.
    """
    # Three spaces before, so that every number has three characters before its last one.
    raw = np.frombuffer(("   " + "\n".join(texts) + "\n").encode("ascii", "replace"), np.uint8)
    space, digit = (raw == ord(" ")) | (raw == ord("\n")), raw - ord("0")
    last = np.flatnonzero(~space[:-1] & space[1:])
    one_digit = space[last - 1]
    two_digits = one_digit | space[last - 2]
    values = digit[last].astype(np.uint16)
    values += np.where(one_digit, 0, digit[last - 1]) * np.uint16(10)
    values += np.where(two_digits, 0, digit[last - 2]) * np.uint16(100)
    counts = np.diff(np.searchsorted(last, np.flatnonzero(raw == ord("\n"))), prepend=0)
    is_number = (space | (digit <= 9)).all() and (two_digits | space[last - 3]).all() and (values <= 255).all()
    return (values.astype(np.uint8) if is_number else None), counts
