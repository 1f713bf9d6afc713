"""Folders of people, and the names that they give."""

import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelab.errors import ConfigError, DataError
from facelab.galleries.faces import Face
from facelab.galleries.people import Portraits, add, list_people
from facelab.galleries.thumbnails import as_thumbnail


def person(folder: Path, name: str | bytes) -> None:
    place = os.path.join(os.fsencode(folder), os.fsencode(name))  # noqa: PTH118 (pathlib takes no bytes)
    os.mkdir(place)  # noqa: PTH102
    Image.new("L", (16, 16)).save(Path(os.fsdecode(place)) / "1.png")


def test_names_are_those_of_the_folders_in_composed_form(tmp_path: Path) -> None:
    for name in ("s10", "s2", "Jose\u0301", b"caf\xe9"):
        person(tmp_path, name)
    assert list(list_people(str(tmp_path), "source")) == ["caf\\xe9", "Jos\u00e9", "s2", "s10"]


def test_one_name_in_two_forms_is_refused_with_both_folders(tmp_path: Path) -> None:
    for name in ("Jos\u00e9", "Jose\u0301", "Ada"):
        person(tmp_path, name)
    with pytest.raises(DataError) as error:
        list_people(str(tmp_path), "source")
    assert all(str(tmp_path / name) in str(error.value) for name in ("Jos\u00e9", "Jose\u0301"))
    assert "have the same name" in str(error.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [("   ", r"/   ' is blank"), (b"\xff" * 255, "has 1,020 characters; expected a name of at most 1,000.*Rename it")],
)
def test_names_that_a_gallery_cannot_keep_are_refused(tmp_path: Path, name: str | bytes, says: str) -> None:
    person(tmp_path, name)
    with pytest.raises(DataError, match=says):
        list_people(str(tmp_path), "source")


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"development: .* cannot be looked up \(File name too long\)"):
        list_people(str(tmp_path / ("long" * 75)), "development")


def test_a_thumbnail_of_the_first_face_is_kept_and_no_face() -> None:
    found, alive = Portraits(), []
    for name, level in (("ada", 40), ("ada", 80), ("grace", 120)):
        face = Face(np.full((8, 8, 1), level, np.uint8), Image.new("L", (8, 8), level), None)
        alive.append(weakref.ref(face))
        add(found, name, face, np.ones(2, np.float32))
    del face
    gc.collect()
    assert found.thumbnails == [as_thumbnail(Image.new("L", (8, 8), level)) for level in (40, 120)]
    assert [reference() for reference in alive] == [None, None, None]
