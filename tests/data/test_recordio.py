"""RecordIO files: every picture and label as written, split records joined, damage told."""

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from facelab.data import source
from facelab.data.augment import Augmentation
from facelab.data.faces import FaceSet
from facelab.data.module import FaceDataModule
from facelab.data.order import ByImage
from facelab.data.sources.recordio import RecordIO
from facelab.data.splits.base import split
from facelab.data.splits.rules import Ratio
from facelab.errors import DataError
from tests.data.made_formats import MAGIC, insightface_records, packed, pictures, png, record, write_records

MAGIC_BYTES = struct.pack("<I", MAGIC)


def _load(path: Path) -> FaceSet:
    return RecordIO(str(path), image_size=16).load()


def test_pictures_and_labels_are_read_as_written(tmp_path: Path) -> None:
    pixels, labels = pictures(6), [7, 7, 2, 2, 11, 11]
    found = _load(insightface_records(tmp_path / "train.rec", [png(one) for one in pixels], labels))
    assert found.columns["identity"].texts.tolist() == [str(label) for label in labels]
    assert list(found.names) == ["1", "2", "3", "4", "5", "6"]
    assert np.array_equal(np.stack([found.pixels[index] for index in range(6)]), pixels)


def test_the_first_of_several_labels_counts_and_records_need_no_count(tmp_path: Path) -> None:
    pixels = pictures(3)
    contents = [packed([index, 0.5, 9], png(one), 3) for index, one in enumerate(pixels)]
    found = _load(write_records(tmp_path / "train.rec", contents, keys=[10, 4, 7]))
    assert found.columns["identity"].texts.tolist() == ["0", "1", "2"]
    assert list(found.names) == ["10", "4", "7"]
    assert np.array_equal(found.pixels[2], pixels[2])


@pytest.mark.parametrize("further", [0, 2])
def test_a_record_that_contains_the_magic_number_is_joined(tmp_path: Path, further: int) -> None:
    pixels = pictures(3)
    # Bytes after the end of a PNG are ignored; 24 or 32 bytes precede it, so multiples of 4 are where writers split.
    images = [png(one) + b"\0" * (-len(png(one)) % 4) for one in pixels]
    images[1] += MAGIC_BYTES + b"abcd" + MAGIC_BYTES + MAGIC_BYTES + b"xy"
    contents = [packed([index, 5][: further or 1], image, further) for index, image in enumerate(images)]
    assert record(contents[1]).count(MAGIC_BYTES) == 4
    path = write_records(tmp_path / "train.rec", contents)
    rows = RecordIO(str(path)).rows()
    assert [rows.images.content(index) for index in range(3)] == images  # type: ignore[attr-defined]
    found = _load(path)
    assert found.columns["identity"].texts.tolist() == ["0", "1", "2"]
    assert np.array_equal(found.pixels[1], pixels[1])


def test_a_header_that_contains_the_magic_number_is_joined(tmp_path: Path) -> None:
    image = png(pictures(1)[0])
    header = struct.pack("<IfII", 0, 3.0, MAGIC, 0) + MAGIC_BYTES + b"\0\0\0\0"
    path = write_records(tmp_path / "train.rec", [header + image, packed([4], image)])
    rows = RecordIO(str(path)).rows()
    assert rows.columns["identity"] == ["3", "4"]
    assert rows.images.content(0) == rows.images.content(1) == image  # type: ignore[attr-defined]


def test_labels_become_short_texts(tmp_path: Path) -> None:
    image = png(pictures(1)[0])
    labels = [0, -1, 0.5, 16_777_216, float("nan")]
    path = write_records(tmp_path / "train.rec", [packed([label], image) for label in labels])
    assert RecordIO(str(path)).rows().columns["identity"] == ["0", "-1", "0.5", "16777216", ""]


def _made(tmp_path: Path) -> Path:
    return insightface_records(tmp_path / "train.rec", [png(one) for one in pictures(4)], [0, 0, 1, 1])


def _replace_line(path: Path, number: int, line: str) -> None:
    lines = path.with_suffix(".idx").read_text().splitlines(keepends=True)
    path.with_suffix(".idx").write_text("".join([*lines[:number], line, *lines[number + 1 :]]))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _without_index(path: Path) -> None:
    path.with_suffix(".idx").unlink()


def _without_records(path: Path) -> None:
    path.unlink()


def _cut_index(path: Path) -> None:
    _replace_line(path, 6, "")


def _index_without_a_picture(path: Path) -> None:
    _replace_line(path, 2, "")


def _wrong_magic(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def _offset_within_a_record(path: Path) -> None:
    _replace_line(path, 1, "1\t44\n")


def _offset_beyond(path: Path) -> None:
    _replace_line(path, 6, "6\t4000000000000\n")


def _offset_overflows(path: Path) -> None:
    _replace_line(path, 6, f"6\t{2**63 - 4}\n")


def _offset_below_zero(path: Path) -> None:
    _replace_line(path, 0, "0\t-4\n")


def _swapped(path: Path) -> None:
    lines = path.with_suffix(".idx").read_text().splitlines(keepends=True)
    path.with_suffix(".idx").write_text("".join([lines[0], lines[2], lines[1], *lines[3:]]))


def _repeated_key(path: Path) -> None:
    lines = path.with_suffix(".idx").read_text().splitlines(keepends=True)
    _replace_line(path, 1, lines[1].replace("1\t", "2\t", 1))


def _words(path: Path) -> None:
    path.with_suffix(".idx").write_text("no index\n")


def _empty_index(path: Path) -> None:
    path.with_suffix(".idx").write_text("")


def _three_columns(path: Path) -> None:
    path.with_suffix(".idx").write_text("0\t0\t0\n")


def _huge_flag(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8:12] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)


def _too_long(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:8] = struct.pack("<I", 36)
    path.write_bytes(content)


def _without_end(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:8] = struct.pack("<I", 1 << 29 | 32)
    path.write_bytes(content)


BAD = [
    (_cut, "is cut short"),
    (_cut_in_half, "is cut short: 4 of 7 records"),
    (_without_index, "train.idx is missing"),
    (_without_records, "is not a file"),
    (_cut_index, "its index is cut short"),
    (_index_without_a_picture, "announces 4 images in record 0, and its index lists 3"),
    (_wrong_magic, "no record begins there"),
    (_offset_within_a_record, "44: no record begins there"),
    (_offset_beyond, "is cut short: 1 of 7 records"),
    (_offset_overflows, "is cut short: 1 of 7 records"),
    (_offset_below_zero, "-4: no record begins there"),
    (_swapped, "the offset before it is not smaller"),
    (_repeated_key, "keys occur more than once"),
    (_words, "is not its index"),
    (_empty_index, "is not its index"),
    (_three_columns, "it has 3 columns"),
    (_huge_flag, "shorter than its labels"),
    (_too_long, "reaches into the next one"),
    (_without_end, "does not end"),
]


@pytest.mark.parametrize(("spoil", "says"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_damage_is_told(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    path = _made(tmp_path)
    spoil(path)
    with pytest.raises(DataError) as caught:
        RecordIO(str(path)).load()
    assert says in str(caught.value)
    assert f"data.path: {path}" in str(caught.value)


def test_records_without_images_are_told(tmp_path: Path) -> None:
    image = png(pictures(1)[0])
    path = write_records(tmp_path / "train.rec", [packed([1], image), packed([2], b"")], keys=[5, 6])
    with pytest.raises(DataError, match=r"data\.path.* 1 records hold no image, such as 6"):
        RecordIO(str(path)).load()


def test_a_damaged_picture_is_named_by_its_key(tmp_path: Path) -> None:
    path = insightface_records(tmp_path / "train.rec", [png(pictures(1)[0]), b"no picture"], [0, 1])
    with pytest.raises(DataError, match=r"train\.rec: 2 is not an image"):
        RecordIO(str(path)).load()


def test_a_set_too_large_for_memory_is_streamed_by_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = pictures(60)
    path = insightface_records(
        tmp_path / "train.rec", [png(one) for one in pixels], [index // 20 for index in range(60)]
    )
    held = _load(path)
    monkeypatch.setattr(source, "MEMORY_LIMIT_BYTES", 0)
    streamed = _load(path)
    assert not isinstance(streamed.pixels, type(held.pixels))
    assert streamed.fingerprint == held.fingerprint

    def batches(faces: FaceSet, workers: int) -> torch.Tensor:
        splits = split(faces, Ratio())
        module = FaceDataModule(faces, splits, Augmentation([]), ByImage(splits.train, 12, 1), 60, 1, workers)
        return torch.cat([batch["image"] for batch in module.train_dataloader()])

    expected = batches(held, 0)
    assert torch.equal(batches(streamed, 0), expected)
    assert torch.equal(batches(streamed, 2), expected)
    path.unlink()
    for workers in (0, 2):
        with pytest.raises(DataError) as caught:
            batches(streamed, workers)
        assert str(caught.value).startswith(str(path))
        assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".rec", ".idx"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    random, contents = np.random.default_rng(0), [packed([1, 2], b"abcd" + MAGIC_BYTES, 2), packed([3], b"efgh")]
    path = write_records(tmp_path / "train.rec", contents)
    whole = path.with_suffix(suffix).read_bytes()
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[random.integers(0, len(whole))] = random.integers(0, 256)
        path.with_suffix(suffix).write_bytes(damaged)
        with contextlib.suppress(DataError):
            images = RecordIO(str(path)).rows().images
            images.content(0)  # type: ignore[attr-defined]
