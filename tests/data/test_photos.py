"""Photos below a folder, the names of their faces, and the record of what is done."""

import os
import resource
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facelab.data.photos.alignments import FACES, PHOTOS, UNKNOWN, AlignedFace, open_alignments
from facelab.data.photos.files import file_of_face, list_photos, names_of_faces
from facelab.errors import ConfigError

FACE = AlignedFace(PurePath("a/b.png"), 0.98765, np.arange(4, dtype=np.float32), np.full((5, 2), 1 / 3, np.float32))
STATE = ("9123", "1700000000123456789")
SAME: dict[str, Any] = {"size": 112, "faces": "all"}


def _names(photos: list[PurePath]) -> list[str]:
    return [str(file_of_face(name, face)) for name in names_of_faces(photos).values() for face in (1, 2, 3)]


def test_faces_are_named_after_their_photo() -> None:
    assert _names([PurePath("a/x.jpg")]) == ["a/x.png", "a/x.face2.png", "a/x.face3.png"]
    assert _names([PurePath("subject01.happy.jpg")])[0] == "subject01.happy.png"
    assert _names([PurePath("x.jpg"), PurePath("X.png"), PurePath("a/x.jpg")])[::3] == [
        "x.jpg.png",
        "X.png.png",
        "a/x.png",
    ]


_PIECES = st.lists(st.sampled_from(["a", "A", ".face2", ".face3", ".jpg", ".png", ".gif", " "]), min_size=1, max_size=4)


@given(st.lists(_PIECES.map(lambda pieces: "x" + "".join(pieces) + ".jpg"), unique_by=str.casefold, max_size=8))
@settings(max_examples=100)
def test_no_two_faces_share_a_file(names: list[str]) -> None:
    both = [PurePath(name) for name in names] + [PurePath(name).with_suffix(".png") for name in names]
    files = [file.casefold() for file in _names(list(dict.fromkeys(both)))]
    assert len(set(files)) == len(files)


def test_photos_are_listed_in_natural_order_and_others_passed_over(tmp_path: Path) -> None:
    for name in (
        "s10.JPG",
        "s2.jpg",
        "王小明/é👩🏽‍🎓.webp",
        "b/c/d/e.tiff",
        "b/Thumbs.db",
        "notes.txt",
        "clip.mov",
        ".hidden.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for folder in ("__MACOSX", ".git", "@eaDir"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jpg").touch()
    listing = list_photos(tmp_path)
    assert [str(photo) for photo in listing.photos] == ["s2.jpg", "s10.JPG", "b/c/d/e.tiff", "王小明/é👩🏽‍🎓.webp"]
    assert not listing.problems


def test_what_cannot_be_used_is_named_with_its_remedy(tmp_path: Path) -> None:
    source, outside = tmp_path / "source", tmp_path / "outside"
    for folder in (source, outside):
        (folder / "people").mkdir(parents=True)
        (folder / "people" / "x.jpg").touch()
    (source / "iphone.HEIC").touch()
    (source / "out.jpg").symlink_to(outside / "people" / "x.jpg")
    (source / "gone.jpg").symlink_to("nowhere.jpg")
    (source / "in.jpg").symlink_to("people/x.jpg")
    (source / "loop").symlink_to(source)
    (source / "friends").symlink_to(outside / "people")
    listing = list_photos(source)
    assert [str(photo) for photo in listing.photos] == ["in.jpg", "people/x.jpg"]
    problems = {str(path): text for path, text in listing.problems.items()}
    assert problems.keys() == {"iphone.HEIC", "out.jpg", "gone.jpg", "loop", "friends"}
    assert "convert it to PNG or JPEG" in problems["iphone.HEIC"]
    assert "symbolic link out of the folder" in problems["out.jpg"]
    assert "link to a folder" in problems["loop"]


def test_a_record_cut_anywhere_keeps_what_is_whole(tmp_path: Path) -> None:
    photos = [
        PurePath(name) for name in ("a.jpg", 'b,"c".jpg', "line\nbreak.jpg", "王.jpg", os.fsdecode(b"caf\xe9.jpg"))
    ]
    with open_alignments(tmp_path / "out", SAME) as record:
        for photo in photos:
            record.add(photo, 12, [FACE, FACE], STATE)
        names = list(record.faces)
    whole = {name: (tmp_path / "out" / name).read_bytes() for name in (FACES, PHOTOS)}
    for name in (FACES, PHOTOS):
        for length in range(0, len(whole[name]) + 1, 3 if name == PHOTOS else 97):
            for other, content in whole.items():
                (tmp_path / "out" / other).write_bytes(content[:length] if other == name else content)
            with open_alignments(tmp_path / "out", SAME) as record:
                kept = list(record.faces)
                assert kept == names[: len(kept)]
                assert all(found == 12 for found in record.faces.values())
                for photo in photos[len(kept) :]:
                    record.add(photo, 12, [FACE, FACE], STATE)
            if name == PHOTOS:  # the faces of a photo are written first, so only their rows can be missing
                assert {other: (tmp_path / "out" / other).read_bytes() for other in whole} == whole


def test_a_photo_that_could_not_be_used_is_tried_again(tmp_path: Path) -> None:
    with open_alignments(tmp_path, SAME) as record:
        record.add(PurePath("good.jpg"), 0, [], STATE)
        record.add_problem(PurePath("bad.jpg"), "is damaged")
    with open_alignments(tmp_path, SAME) as record:
        assert record.faces == {"good.jpg": 0}
        assert not record.problems


def test_forgotten_photos_lose_their_faces_and_no_others(tmp_path: Path) -> None:
    names = {PurePath(name): PurePath(name).with_suffix(".png") for name in ("a.jpg", "b.jpg")}
    names[PurePath(os.fsdecode(b"caf\xe9.jpg"))] = PurePath(os.fsdecode(b"caf\xe9.png"))
    (tmp_path / "out").mkdir()
    with open_alignments(tmp_path / "out", SAME) as record:
        for photo, file in names.items():
            (tmp_path / "out" / file).touch()
            record.add(photo, 1, [replace(FACE, file=file)], STATE)
        (tmp_path / "out" / "mine.png").touch()
        (tmp_path / "outside.png").touch()
        record.add(PurePath("c.jpg"), 1, [replace(FACE, file=PurePath("../outside.png"))], STATE)
        record.forget({"a.jpg", "caf\\xe9.jpg", "c.jpg"})
        assert record.states == {"b.jpg": STATE}
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"b.png", "mine.png"}
    assert (tmp_path / "outside.png").exists()
    with open_alignments(tmp_path / "out", SAME) as record:
        assert record.faces == {"b.jpg": 1}


def test_a_photo_that_an_earlier_version_recorded_is_of_unknown_state(tmp_path: Path) -> None:
    with open_alignments(tmp_path, SAME):
        (tmp_path / PHOTOS).write_text("photo,faces,problem\na.jpg,1,\nb.jpg,,is damaged\n")
    with open_alignments(tmp_path, SAME) as record:
        assert record.faces == {"a.jpg": 1}
        assert record.states == {"a.jpg": UNKNOWN}


def test_a_folder_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    with open_alignments(tmp_path, SAME):
        pass
    with pytest.raises(ConfigError, match=r"size=112 \(now 64\)"), open_alignments(tmp_path, {**SAME, "size": 64}):
        pass


@pytest.mark.parametrize("content", ["", "[1]", "{}", "null", "{"])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "align.json").write_text(content)
    with pytest.raises(ConfigError, match="Choose another folder"), open_alignments(tmp_path, SAME):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["align.json"]


def test_a_disk_that_is_full_at_the_start_does_not_stand_in_the_way_later(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))  # writes beyond fail, as on a full disk
    try:
        with pytest.raises(OSError, match="too large"), open_alignments(tmp_path, SAME):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with open_alignments(tmp_path, SAME) as record:
        assert record.faces == {}


def test_two_processes_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with (
        open_alignments(tmp_path, SAME),
        pytest.raises(ConfigError, match="another process"),
        open_alignments(tmp_path, SAME),
    ):
        pass
