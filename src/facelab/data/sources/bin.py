"""Data source for verification sets in one pickle, as insightface distributes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facelab.data.encoded import ImageBytes
from facelab.data.listing import file_at
from facelab.data.source import FaceSource, Rows, readable
from facelab.data.unpickle import MAX_BYTES, PlainArray, RefusedPickleError, read_plain
from facelab.errors import DataError


@dataclass(kw_only=True)
class Bin(FaceSource):
    """A verification set of image pairs, such as `lfw.bin`, `cfp_fp.bin` and `agedb_30.bin`; for evaluation.

    Format: a pickle of `(bins, issame)`: 2N encoded images and N booleans; pair i consists of images 2i and 2i + 1. Its
    reader cannot run code. Columns: `pair`, the number of the pair, and `genuine`, `yes` if both images show the same
    person. People are unknown, so the set cannot train a recogniser; `genuine` is its label only since every set needs
    one. An image that occurs in several pairs is stored as often.
    Source: https://github.com/deepinsight/insightface, made from LFW, CFP, AgeDB, CALFW and CPLFW, whose terms apply.

    Args:
        path: the `.bin` file, at most 1 GiB.
    """

    path: str
    label: str = "genuine"
    group: str = "pair"

    def rows(self) -> Rows:
        """Read the encoded images, two per pair."""
        path = file_at(self.path, "data.path", "a .bin file", MAX_BYTES)
        where = f"data.path: {readable(str(path.absolute()))}"
        try:
            contents, genuine = _pairs(read_plain(path))
        except RefusedPickleError as problem:
            raise DataError(
                f"{where} {problem}. Expected a pickle of (images as bytes, booleans) and nothing else. Get the file "
                "again from its source, or save it as pickle.dump(([bytes(image) for image in bins], [bool(same) for "
                "same in issame]), file, 4)."
            ) from problem
        except OSError as error:
            raise DataError(f"{where} could not be read ({error.strerror}); check its permissions.") from error
        pairs = [str(pair) for pair in range(len(genuine))]
        names = [f"{pair}_{side}" for pair in pairs for side in (1, 2)]
        columns = {
            "pair": [pair for pair in pairs for _ in range(2)],
            "genuine": ["yes" if same else "no" for same in genuine for _ in range(2)],
        }
        return Rows(readable(path.stem), path, names, ImageBytes(path, contents, names), columns)


def _pairs(found: object) -> tuple[list[bytes], list[bool]]:
    """The 2N encoded images and whether each of the N pairs shows one person.

    Raises:
        RefusedPickleError: it has another structure.
    """
    if not isinstance(found, list | tuple) or len(found) != 2:
        raise RefusedPickleError("does not hold two lists")
    contents = [_image(item) for item in _items(found[0])]
    same = [_boolean(item) for item in _items(found[1])]
    if len(contents) != 2 * len(same):
        raise RefusedPickleError(f"holds {len(contents):,} images for {len(same):,} pairs, not two per pair")
    return contents, same


def _items(value: object) -> Sequence[object]:
    if isinstance(value, PlainArray):
        value = value.values()
    if isinstance(value, np.ndarray):
        value = list(value)
    if not isinstance(value, list | tuple):
        raise RefusedPickleError("does not hold two lists")
    return value


def _image(item: object) -> bytes:
    if isinstance(item, PlainArray):
        item = item.data
    if not isinstance(item, bytes):
        raise RefusedPickleError("holds an image that is not bytes")
    return item


def _boolean(item: object) -> bool:
    if not isinstance(item, int | np.bool_ | np.integer) or item not in (0, 1):
        raise RefusedPickleError("holds a pair that is neither true nor false")
    return bool(item)
