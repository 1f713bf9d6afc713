"""Data source for MXNet's RecordIO files, as insightface distributes CASIA-WebFace, MS1M and Glint360K."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from facelab.data.encoded import ImageRanges
from facelab.data.source import FaceSource, Rows, readable
from facelab.errors import DataError

_MAGIC = 0xCED7230A
_PART_BYTES, _HEADER_BYTES = 8, 24  # before each part of a record; before the further labels and the image
_WHOLE, _FIRST, _LAST = 0, 1, 3  # what a part is of its record
_LENGTH = (1 << 29) - 1  # the lower bits; the upper three tell what the part is

Numbers = NDArray[np.int64]


@dataclass
class RecordIO(FaceSource):
    """A `.rec` file of MXNet with its `.idx`, read in place: no image is copied, and any process may read any.

    Format: `.idx` has lines `key<TAB>offset`. At each offset, `.rec` has the number 0xced7230a and a length, whose
    upper three bits mark the parts of a record that was split where its content contained that number; then flag
    (uint32), label (float32), two ids (uint64), `flag` further float32 labels, and the encoded image. If record 0 has
    further labels and no image, as in insightface's files, the first of them is the number of images plus one, and
    other records without an image describe people; these are left out. Column: `identity`, the label, or the first of
    several. An image's name is its key.
    Source: https://github.com/deepinsight/insightface, `recognition/_datasets_`. The terms are those of the data set in
    the file, such as CASIA-WebFace (D. Yi et al., "Learning Face Representation from Scratch", 2014).

    Args:
        path: the `.rec` file; the `.idx` of the same name lies beside it.
    """

    path: str

    def rows(self) -> Rows:
        """Read the index and the labels."""
        path = Path(self.path)
        where = f"data.path: {readable(str(path.absolute()))}"
        if not path.is_file():
            raise DataError(f"{where} is not a file. Expected a .rec file, such as data.path=$HOME/casia/train.rec.")
        index = path.with_suffix(".idx")
        if not index.is_file():
            raise DataError(
                f"{where}: {readable(index.name)} is missing beside it. Copy it there, or make it from the .rec with "
                "MXNet's tools/rec2idx.py."
            )
        try:
            keys, offsets = _read_index(index, where)
            records = _Records.read(path, offsets, where)
        except OSError as error:
            raise DataError(f"{where} or its .idx could not be read ({error.strerror}); check both files.") from error
        keep = _with_images(keys, records, where)
        names = [str(key) for key in keys[keep].tolist()]
        images = RecordImages(path, records.starts[keep], records.lengths[keep], names, records.is_split[keep])
        name = readable(f"{path.absolute().parent.name} {path.stem}")
        return Rows(name, path, names, images, {"identity": _texts(records.labels[keep])})


class RecordImages(ImageRanges):
    """Images in the records of a `.rec` file.

    Args:
        path: the file.
        starts: (N,) int64, first byte of each image; of the record, if it is split.
        lengths: (N,) int64, bytes of each image; of all parts of the record, if it is split.
        names: N names for messages.
        is_split: (N,) bool, whether the record is split into several parts.
    """

    def __init__(
        self, path: Path, starts: Numbers, lengths: Numbers, names: Sequence[str], is_split: NDArray[np.bool_]
    ) -> None:
        super().__init__(path, starts, lengths, names)
        self.is_split = is_split

    def content(self, index: int) -> bytes:
        """Read the bytes of one image; the parts of a split record are joined."""
        content = super().content(index)
        if not self.is_split[index]:
            return content
        record = _joined(content)
        return record[_HEADER_BYTES + 4 * _number(record, 0) :]


@dataclass
class _Records:
    """Where the images of M records are, and their labels.

    Args:
        starts: (M,) int64, first byte of each image; of the record, if it is split.
        lengths: (M,) int64, bytes of each image; of all parts of the record, if it is split.
        image_bytes: (M,) int64, bytes of each image; 0 if the record has none.
        flags: (M,) int64, number of further labels.
        labels: (M,) float32, the label, or the first further label.
        is_split: (M,) bool, whether the record is split into several parts.
    """

    starts: Numbers
    lengths: Numbers
    image_bytes: Numbers
    flags: Numbers
    labels: NDArray[np.float32]
    is_split: NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path, offsets: Numbers, where: str) -> "_Records":
        """Read and check the headers at the offsets of an index; the images are not read.

        Raises:
            DataError: the file is cut short, or the index does not belong to it.
        """
        size = path.stat().st_size
        _check_offsets(offsets, size, where)
        words = _read_at(path, offsets, _PART_BYTES + _HEADER_BYTES)
        magic, packed, flags, labels = words[:, :4].T
        kind, content = packed >> 29, (packed & _LENGTH).astype(np.int64)
        _refuse_first(where, offsets, (magic != _MAGIC) | ~np.isin(kind, (_WHOLE, _FIRST)), "no record begins there")
        ends = offsets + _PART_BYTES + content
        flags, is_split = flags.astype(np.int64), kind == _FIRST
        labels = labels.copy().view(np.float32)
        several = np.flatnonzero((flags > 0) & ~is_split)
        labels[several] = _read_at(path, offsets[several] + _PART_BYTES + _HEADER_BYTES, 4)[:, 0].view(np.float32)
        for index in np.flatnonzero(is_split):
            raw = _read_parts(path, int(offsets[index]), size, where)
            record = _joined(raw)
            ends[index], content[index] = offsets[index] + len(raw), len(record)
            record = record.ljust(_HEADER_BYTES + 4, b"\0")
            flags[index] = _number(record, 0)
            labels[index] = np.frombuffer(record, "<f4", 1, _HEADER_BYTES if flags[index] else 4)[0]
        _check_ends(offsets, ends, size, where)
        image_bytes = content - _HEADER_BYTES - 4 * flags
        _refuse_first(where, offsets, image_bytes < 0, "the record there is damaged: it is shorter than its labels")
        starts = np.where(is_split, offsets, ends - image_bytes)
        return cls(starts, ends - starts, image_bytes, flags, labels, is_split)


def _read_index(index: Path, where: str) -> tuple[Numbers, Numbers]:
    """Keys and offsets, (M,) int64 each."""
    try:
        table = pd.read_csv(index, sep="\t", header=None, dtype="int64")
    except (ValueError, OverflowError) as error:
        raise _bad_index(where, index, f"{str(error).splitlines()[0][:200]}") from error
    if table.shape[1] != 2:
        raise _bad_index(where, index, f"it has {table.shape[1]} columns")
    keys, offsets = table[0].to_numpy(), table[1].to_numpy()
    if len(np.unique(keys)) < len(keys):
        raise _bad_index(where, index, "keys occur more than once")
    return keys, offsets


def _bad_index(where: str, index: Path, reason: str) -> DataError:
    return DataError(
        f"{where}: {readable(index.name)} is not its index: {reason}. Expected one line key<TAB>offset per record, in "
        "the order of the records. Copy it again, or make it from the .rec with MXNet's tools/rec2idx.py."
    )


def _read_at(path: Path, offsets: Numbers, count: int) -> NDArray[np.uint32]:
    """`count` bytes at each offset, as (M, count / 4) uint32; zeros beyond the end of the file."""
    with path.open("rb") as file:
        # Not a memory map: it would count every page it touches, nearly the whole file, as memory of the process.
        found = [os.pread(file.fileno(), count, offset) for offset in offsets.tolist()]
    return np.frombuffer(b"".join(content.ljust(count, b"\0") for content in found), "<u4").reshape(-1, count // 4)


def _check_offsets(offsets: Numbers, size: int, where: str) -> None:
    beyond = offsets > size - _PART_BYTES - _HEADER_BYTES
    if beyond.any():
        raise DataError(
            f"{where} is cut short: {int(beyond.sum()):,} of {len(offsets):,} records of its index lie beyond its end "
            f"({size:,} bytes). Copy the file again, or the index, if it belongs to another .rec."
        )
    _refuse_first(where, offsets, (offsets < 0) | (offsets % 4 != 0), "no record begins there")
    _refuse_first(where, offsets, np.diff(offsets, prepend=-1) <= 0, "the offset before it is not smaller")


def _check_ends(offsets: Numbers, ends: Numbers, size: int, where: str) -> None:
    """Check that records do not overlap and that the last one ends where the file does."""
    padded = (ends + 3) // 4 * 4
    if ends[-1] > size:
        raise DataError(
            f"{where} is cut short: its last record ends at byte {ends[-1]:,}, the file at {size:,}. Copy it again."
        )
    if padded[-1] < size:
        raise DataError(
            f"{where}: its index is cut short: the last record ends at byte {padded[-1]:,}, and {size - padded[-1]:,} "
            "bytes follow. Copy the .idx again, or make it from the .rec with MXNet's tools/rec2idx.py."
        )
    overlaps = np.append(padded[:-1] > offsets[1:], False)
    _refuse_first(where, offsets, overlaps, "the record there is damaged: it reaches into the next one")


def _refuse_first(where: str, offsets: Numbers, is_bad: NDArray[np.bool_], reason: str) -> None:
    if is_bad.any():
        raise DataError(
            f"{where}: {int(is_bad.sum()):,} of {len(offsets):,} offsets of its index are unusable, the first of them "
            f"{offsets[np.argmax(is_bad)]:,}: {reason}. Copy both files again, or make the index from the .rec with "
            "MXNet's tools/rec2idx.py."
        )


def _with_images(keys: Numbers, records: _Records, where: str) -> Numbers:
    """Indices of the records that hold an image, checked against the count in record 0, if there is one."""
    has_image = records.image_bytes > 0
    first = np.flatnonzero(keys == 0)
    if len(first) and records.flags[first[0]] > 0 and not has_image[first[0]]:
        images, announced = int(has_image.sum()), records.labels[first[0]]
        # Both as float32, which cannot represent every number above 2^24.
        if np.float32(images + 1) != announced:
            raise DataError(
                f"{where} announces {announced - 1:,.0f} images in record 0, and its index lists {images:,}. Copy both "
                "files again."
            )
    elif not has_image.all():
        missing = keys[~has_image]
        raise DataError(
            f"{where}: {len(missing):,} records hold no image, such as {', '.join(map(str, missing[:5].tolist()))} "
            "(keys of the .idx). Pack the images again."
        )
    return np.flatnonzero(has_image)


def _read_parts(path: Path, offset: int, size: int, where: str) -> bytes:
    """All bytes of a split record, from the head of its first part to the end of its last."""
    with path.open("rb") as file:
        end, kind = offset, _FIRST
        while kind != _LAST:
            file.seek(end)
            head = file.read(_PART_BYTES)
            if len(head) < _PART_BYTES or _number(head, 0) != _MAGIC or (end > offset and _number(head, 4) >> 29 < 2):
                raise DataError(f"{where}: the split record at byte {offset:,} does not end. Copy the file again.")
            kind, length = _number(head, 4) >> 29, _number(head, 4) & _LENGTH
            end = min(end + _PART_BYTES + length, size)
        file.seek(offset)
        return file.read(end - offset)


def _joined(raw: bytes) -> bytes:
    """The content of a split record. The number that marks a part is also what the content held between two parts."""
    parts, place = [], 0
    while place < len(raw):
        length = _number(raw, place + 4) & _LENGTH
        parts.append(raw[place + _PART_BYTES : place + _PART_BYTES + length])
        place += _PART_BYTES + (length + 3) // 4 * 4
    return _MAGIC.to_bytes(4, "little").join(parts)


def _number(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "little")


def _texts(labels: NDArray[np.float32]) -> list[str]:
    """Labels as texts, whole numbers without a decimal point; empty if not a number."""
    distinct, places = np.unique(labels, return_inverse=True)
    texts = [
        "" if value != value else f"{value:.0f}" if value.is_integer() else str(value) for value in distinct.tolist()
    ]
    return [texts[place] for place in places.tolist()]
