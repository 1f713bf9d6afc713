"""The list of the images a run used."""

from pathlib import Path

import numpy as np
import pytest

from facelab.data import ORL, Concat, FaceSource, Folder
from facelab.data.faces import FaceSet
from facelab.data.image_list import ImageList, namings, read_image_list
from facelab.data.sources.recordio import RecordIO
from facelab.data.splits.base import Splits
from facelab.errors import DataError
from tests.data.made import make_folder

SPLITS = Splits(np.array([0, 10]), np.array([1]), np.array([2, 11]))


def _rows(found: ImageList, *names: str) -> list[tuple[object, ...]]:
    return list(zip(*(found.table[name].to_pylist() for name in names), strict=True))


def test_every_used_image_is_listed_with_part_person_and_digest(orl: FaceSet, tmp_path: Path) -> None:
    used = ImageList.of(ORL(image_size=32), orl, SPLITS)
    used.write(tmp_path / "images.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["images.parquet"]
    found = read_image_list(tmp_path / "images.parquet")
    assert _rows(found, "name", "part", "identity", "label", "naming") == [
        ("s1/1.pgm", "train", "s1", "s1", "ORL"),
        ("s2/1.pgm", "train", "s2", "s2", "ORL"),
        ("s1/2.pgm", "val", "s1", "s1", "ORL"),
        ("s1/3.pgm", "test", "s1", "s1", "ORL"),
        ("s2/2.pgm", "test", "s2", "s2", "ORL"),
    ]
    assert found.table["digest"][1].as_py().hex() == orl.digests[10]
    assert len(found) == 5
    assert not found.unlisted


def test_images_of_the_run_before_count_but_not_its_test(orl: FaceSet, tmp_path: Path) -> None:
    first = ImageList.of(ORL(image_size=32), orl, SPLITS)
    other = Splits(np.array([20]), np.array([], dtype=np.int64), np.array([30]))
    second = ImageList.of(ORL(image_size=32), orl, other).after(first, "first")
    third = second.after(second, "second").after(None, "lost")
    third.write(tmp_path / "images.parquet")
    found = read_image_list(tmp_path / "images.parquet")
    assert found.unlisted == ["lost"]
    pretrained = [name for name, part in _rows(found, "name", "part") if part == "pretrained"]
    assert pretrained[:3] == ["s1/1.pgm", "s2/1.pgm", "s1/2.pgm"]  # train and val of the first
    assert pretrained[3:] == ["s3/1.pgm", "s1/1.pgm", "s2/1.pgm", "s1/2.pgm"]  # of the second, and what it stems from


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "images.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(DataError, match=r"images\.parquet is damaged"):
        read_image_list(tmp_path / "images.parquet")
    with pytest.raises(FileNotFoundError):
        read_image_list(tmp_path / "absent.parquet")


def test_names_of_people_are_those_of_a_published_set_or_of_a_folder(tmp_path: Path) -> None:
    first, second = (Folder(root=str(make_folder(tmp_path / name, people=2, pictures=1))) for name in ("a", "b"))
    sources: dict[str, FaceSource] = {"one": first, "two": second}
    assert set(namings(first, first.load())) == {"Folder a"}
    casia, ms1m = (RecordIO(path=f"/data/{name}/train.rec") for name in ("casia", "ms1m"))
    assert namings(casia, first.load())[0] == "RecordIO casia/train.rec"
    assert namings(casia, first.load())[0] != namings(ms1m, first.load())[0]
    joined = Concat(sources=sources)
    assert list(namings(joined, joined.load())) == ["Folder a", "Folder a", "Folder b", "Folder b"]
    apart = Concat(sources=sources, shared_identities=False)
    assert set(namings(apart, apart.load())) == {"Folder a in Concat", "Folder b in Concat"}
