"""Folders in folders, parts, and layouts that could mean two things."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from facelab.data.source import FaceSource
from facelab.data.sources.bin import Bin
from facelab.data.sources.celeba import CelebA
from facelab.data.sources.csv_file import CSV
from facelab.data.sources.fer2013 import FER2013
from facelab.data.sources.folder import Folder
from facelab.data.sources.lfw import LFW
from facelab.data.sources.rafdb import RAFDB
from facelab.data.sources.recordio import RecordIO
from facelab.errors import DataError
from tests.data.made import make_folder


def test_the_class_of_a_nested_folder_is_its_path(tmp_path: Path) -> None:
    root = tmp_path / "faces"
    for group in ("women", "men"):
        make_folder(root / group, people=2, pictures=2)
    make_folder(root / "others" / "2024", people=2, pictures=1)
    found = Folder(str(root)).load()
    assert found.label_names == [
        f"{group}/person{person}" for group in ("men", "others/2024", "women") for person in range(2)
    ]
    assert found.names[0] == "men/person0/0.png"
    assert len(found) == 10
    (note,) = found.notes
    assert "data.root" in note
    assert "'men/person0'" in note


PLACES: list[tuple[Callable[..., FaceSource], str]] = [
    (Folder, "root"),
    (LFW, "root"),
    (CelebA, "root"),
    (FER2013, "root"),
    (RAFDB, "root"),
    (CSV, "file"),
    (Bin, "path"),
    (RecordIO, "path"),
]


@pytest.mark.parametrize(("kind", "key"), PLACES)
def test_a_path_that_the_file_system_refuses_is_told(kind: Callable[..., FaceSource], key: str) -> None:
    with pytest.raises(DataError, match=r"File name too long"):
        kind(**{key: "x" * 300}).load()
    with pytest.raises(DataError, match=rf"^data\.{key}"):
        kind(**{key: ""}).load()


def test_a_flat_folder_needs_no_note(tmp_path: Path) -> None:
    assert not Folder(str(make_folder(tmp_path / "faces"))).load().notes


def test_parts_may_be_nested_too(tmp_path: Path) -> None:
    for part in ("Training", "testing"):
        make_folder(tmp_path / "faces" / part / "group", people=2, pictures=2)
    found = Folder(str(tmp_path / "faces")).load()
    assert found.label_names == ["group/person0", "group/person1"]
    assert found.columns["part"].names == ["train", "test"]


def test_an_image_beside_the_classes_is_named(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces")
    (root / "person0" / "0.png").rename(root / "loose.png")
    with pytest.raises(DataError, match=r"beside folders: loose\.png"):
        Folder(str(root)).load()


def test_a_folder_beside_images_is_named(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces")
    (root / "person0" / "glasses" / "new").mkdir(parents=True)
    (root / "person0" / "0.png").rename(root / "person0" / "glasses" / "0.png")
    with pytest.raises(DataError, match=r"person0/glasses is a folder beside images.*data=pattern"):
        Folder(str(root)).load()


def test_an_empty_folder_deep_down_is_named_and_its_parents_are_not(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces")
    (root / "group" / "nobody").mkdir(parents=True)
    (root / "group" / "nobody" / "notes.txt").touch()
    with pytest.raises(DataError) as caught:
        Folder(str(root)).load()
    assert str(caught.value).startswith(f"{root / 'group' / 'nobody'} holds no images: it holds 1 files of other kinds")


def test_links_between_folders_do_not_lead_in_a_circle(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", people=2, pictures=2)
    (root / "group").mkdir()
    (root / "group" / "back").symlink_to(root, target_is_directory=True)
    with pytest.raises(DataError, match=r"group/back is a symbolic link to a folder"):
        Folder(str(root)).load()


def test_a_link_to_another_class_is_followed(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", people=2, pictures=2)
    (root / "alias").symlink_to(root / "person0", target_is_directory=True)
    assert Folder(str(root)).load().label_names == ["alias", "person0", "person1"]


@pytest.mark.slow
def test_thousands_of_levels_are_listed(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "f", people=2, pictures=1)
    deep = root
    for _ in range(1500):
        deep = deep / "d"
        deep.mkdir()
    (root / "person0" / "0.png").rename(deep / "0.png")
    (root / "person0").rmdir()
    try:
        assert len(Folder(str(root)).load()) == 2
    finally:  # pytest could not: shutil.rmtree recurses
        (deep / "0.png").unlink()
        os.removedirs(deep)


def test_images_without_folders_are_told_of_patterns(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces") / "person0"
    with pytest.raises(DataError, match=r"holds no folders.*data=pattern"):
        Folder(str(root)).load()
