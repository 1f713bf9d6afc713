"""What lies in a folder of faces besides image files: pipes, devices, links, odd names."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from facelab.data.sources.folder import Folder
from facelab.errors import DataError
from tests.data.made import make_folder, problem_with
from tests.data.test_images import face


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(path.parent)  # the whole path may be too long for a socket
        bound.bind(path.name)
        os.chdir(here)


def _folder(path: Path) -> None:
    path.mkdir()


def _link_out(path: Path) -> None:
    outside = path.parents[2] / "secret.png"
    face().save(outside)
    path.symlink_to(outside)


def _link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link_to_nothing(path: Path) -> None:
    path.symlink_to("gone.png")


def _link_in_a_circle(path: Path) -> None:
    path.symlink_to(path.name)


ODD = [
    (_fifo, "FIFO"),
    (_socket, "socket"),
    (_folder, "a folder"),
    (_link_out, "symbolic link"),
    (_link_to_a_device, "symbolic link"),
    (_link_to_nothing, "symbolic link"),
    (_link_in_a_circle, "symbolic link"),
]


@pytest.mark.parametrize(("put", "says"), ODD, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_no_file_of_the_folder_is_refused_by_name(
    tmp_path: Path, put: Callable[[Path], None], says: str
) -> None:
    root = make_folder(tmp_path / "faces", people=2, pictures=2)
    put(root / "person1" / "odd.png")
    with pytest.raises(DataError) as caught:
        Folder(str(root)).load()
    assert str(Path("person1") / "odd.png") in str(caught.value)
    assert says in str(caught.value)


def test_a_fifo_that_is_opened_alone_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "face.png")
    assert "FIFO" in str(problem_with(tmp_path / "face.png"))


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", people=2, pictures=2)
    (root / "person1" / "link.png").symlink_to("../person0/0.png")
    (tmp_path / "other").symlink_to(root)
    assert len(Folder(str(tmp_path / "other")).load()) == 5


def test_a_linked_class_folder_is_refused_by_name(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", people=2, pictures=2)
    (root / "person1").rename(tmp_path / "person1")
    (root / "person1").symlink_to(tmp_path / "person1")
    with pytest.raises(DataError, match=r"person1 .*symbolic link"):
        Folder(str(root)).load()


def test_what_systems_leave_behind_is_passed_over(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", people=2, pictures=2)
    plain = Folder(str(root)).load()
    for name in ("Thumbs.db", ".DS_Store", "._0.png", "desktop.ini", "notes.txt", ".hidden.png"):
        (root / "person0" / name).write_bytes(b"no picture")
    (root / "Thumbs.db").write_bytes(b"no picture")
    for name in ("__MACOSX", ".git", "@eaDir"):
        (root / name).mkdir()
    assert Folder(str(root)).load().fingerprint == plain.fingerprint


def test_a_picture_of_another_format_is_not_left_out_quietly(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", people=2, pictures=2)
    (root / "person0" / "5.HEIC").write_bytes(b"\0\0\0\x20ftypheic")
    with pytest.raises(DataError, match=r"5\.HEIC .*convert it to PNG or JPEG"):
        Folder(str(root)).load()


@pytest.mark.parametrize(
    "name", ["王小明", "Jürgen", "a\u0301", "👩🏽‍🎓", "x²", "٣٤", "a b", "[nope]", "-rf", "a=b", "{x}", "%s"]
)
def test_any_name_works(tmp_path: Path, name: str) -> None:
    root = make_folder(tmp_path / name, people=2, pictures=2)
    (root / "person0").rename(root / name)
    (root / name / "0.png").rename(root / name / f"{name}.png")
    found = Folder(str(root)).load()
    assert name in found.label_names
    assert f"{name}/{name}.png" in found.names
    assert len(found.fingerprint) == 64


def test_a_name_that_is_no_utf_8_is_written_out(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", people=2, pictures=2)
    (root / "person0").rename(root / os.fsdecode(b"caf\xe9"))
    found = Folder(str(root)).load()
    assert sorted(found.label_names) == ["caf\\xe9", "person1"]
    assert len(found.fingerprint) == 64
