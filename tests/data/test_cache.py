"""Decoded pictures are kept between runs, and never believed where they could be others."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelab.data import FaceSpoiltFace, Folder
from facelab.data.faces import FaceSet
from tests.data.made import make_folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_folder(tmp_path / "faces", people=2, pictures=3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("facelab.data.source.WORTH_CACHING_S", -1.0)  # these few are read in no time
    return folder


def _kept(root: Path) -> list[Path]:
    return sorted((root.parent / "cache" / "facelab").glob("*.npy"))


def _pixels(faces: FaceSet) -> list[bytes]:
    return [faces.pixels[i].tobytes() for i in range(len(faces))]


def test_a_second_start_reads_the_same_pictures_from_the_cache(root: Path) -> None:
    first = Folder(str(root), image_size=16).load()
    (kept,) = _kept(root)
    before = kept.stat().st_mtime_ns
    second = Folder(str(root), image_size=16).load()
    assert _pixels(first) == _pixels(second)
    assert first.fingerprint == second.fingerprint
    assert [kept] == _kept(root)
    assert kept.stat().st_mtime_ns == before, "read, not written again"


def test_a_changed_picture_is_decoded_anew_and_replaces_what_was_kept(root: Path) -> None:
    first = Folder(str(root), image_size=16).load()
    Image.fromarray(np.full((40, 40), 77, np.uint8)).save(root / "person0" / "0.png")
    second = Folder(str(root), image_size=16).load()
    assert first.fingerprint != second.fingerprint
    assert (second.pixels[0] == 77).all()
    assert len(_kept(root)) == 1


def test_another_size_is_kept_beside_it(root: Path) -> None:
    assert Folder(str(root), image_size=16).load().image_shape == (3, 16, 16)
    assert Folder(str(root), image_size=24, channels=1).load().image_shape == (1, 24, 24)
    assert len(_kept(root)) == 2


def test_hashes_are_those_of_the_size_also_without_pixels(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [Folder(str(root), image_size=size, channels=1).load() for size in (16, 24)]
    monkeypatch.setattr("facelab.data.source.MEMORY_LIMIT_BYTES", 0)
    for _ in range(2):  # the second time from the cache
        streamed = [Folder(str(root), image_size=size, channels=1).load() for size in (16, 24)]
        assert [faces.digests for faces in streamed] == [faces.digests for faces in held]
    assert held[0].digests != held[1].digests
    assert len(_kept(root)) == 4


def test_a_damaged_file_is_not_believed_and_a_pickle_is_not_opened(root: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(root / "attacked"),)

    first = Folder(str(root), image_size=16).load()
    (kept,) = _kept(root)
    whole = kept.read_bytes()
    for content in (whole[:-1], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], b"", pickle.dumps(Attack())):
        kept.write_bytes(content)
        assert _pixels(Folder(str(root), image_size=16).load()) == _pixels(first)
        assert kept.read_bytes() == whole, "written again"
    assert not (root / "attacked").exists()


def test_a_cache_that_cannot_be_written_is_no_fault(root: Path) -> None:
    (root.parent / "cache").write_text("in the way")
    assert len(Folder(str(root), image_size=16).load()) == 6


def test_spoilt_faces_are_those_of_the_further_set_as_it_is_now(root: Path) -> None:
    def load() -> FaceSet:
        return FaceSpoiltFace(image_size=25, faces=Folder(str(root), image_size=35, channels=1)).load()

    first = load()
    Image.fromarray(np.full((35, 35), 77, np.uint8)).save(root / "person0" / "0.png")
    second = load()
    assert (second.pixels[100] == 77).all()
    assert first.fingerprint != second.fingerprint
