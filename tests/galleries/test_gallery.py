"""Galleries as files: whole after every change, refused when damaged."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from facelab.errors import ConfigError
from facelab.galleries import Gallery
from facelab.galleries.gallery import FILE
from tests.galleries.made import directions, gallery


def changed_header(path: Path, **changes: object) -> None:
    """Change entries of a gallery's header."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["facelab"] = json.dumps(json.loads(header["__metadata__"]["facelab"]) | changes)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = gallery()
    made.write(tmp_path / "office")
    read = Gallery.open(tmp_path / "office")
    assert torch.equal(read.embeddings, made.embeddings)
    assert torch.equal(read.development.embeddings, made.development.embeddings)
    assert (read.names, read.images, list(read.thumbnails)) == (made.names, made.images, made.thumbnails)
    assert (read.origin, read.threshold, read.fpir) == (made.origin, made.threshold, made.fpir)
    assert read.thumbnail(2).shape == (64, 64, 3)
    assert abs(read.thumbnail(2).reshape(-1, 3).mean(axis=0) - (80, 0, 0)).max() < 3
    assert read.place_of("person 3") == 3
    assert [path.name for path in (tmp_path / "office").iterdir()] == [FILE]


def test_a_new_file_is_its_owners_and_permissions_are_kept(tmp_path: Path) -> None:
    gallery().write(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / FILE).chmod(0o640)
    gallery(7).write(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o640


def test_a_gallery_of_nobody_accepts_nobody(tmp_path: Path) -> None:
    replace(gallery(0), threshold=None).write(tmp_path)
    read = Gallery.open(tmp_path)
    assert len(read) == 0
    assert not read.accepts(1.0)


def test_development_people_leave_all_parts() -> None:
    others = gallery().development
    left = others.without([i % 2 == 0 for i in range(40)])
    assert list(left.names) == [f"other {i}" for i in range(1, 40, 2)]
    assert torch.equal(left.embeddings, others.embeddings[1::2])
    assert left.owners.tolist() == list(range(20))


def test_a_folder_without_a_gallery_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no gallery\. Make one with: facelab enroll"):
        Gallery.open(tmp_path)
    gallery().write(tmp_path)
    with pytest.raises(ConfigError, match=r"nobody named 'Ada' is enrolled\. Enrolled are: person 0, person 1"):
        Gallery.open(tmp_path).place_of("Ada")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"names": ["a"] * 5},
        {"names": ["a", "b"]},
        {"images": [1, 1, 1, 1, "1"]},
        {"fpir": 2.0},
        {"threshold": {}},
        {"threshold": None},
        {"development": []},
        {"origin": {"run": "../../other", "weights": "a" * 64}},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    gallery().write(tmp_path)
    changed_header(tmp_path / FILE, **changes)
    with pytest.raises(ConfigError, match="is damaged, or no gallery"):
        Gallery.open(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ["a" * 1001, "b", "c", "d", "e"]},
        {"names": ["a\udce9", "b", "c", "d", "e"]},
        {"names": ["a"] * 5},
        {"embeddings": directions(5) * 2},
        {"embeddings": directions(5) * float("nan")},
        {"development": replace(gallery().development, embeddings=directions(40) * float("inf"))},
        {"threshold": None},
        {"fpir": 0.0},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    gallery().write(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ConfigError, match="was not written, since it could not be read again: "):
        replace(gallery(), **changes).write(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize(
    "tensors",
    [
        {"embeddings": directions(5) * 2},
        {"embeddings": directions(5) * float("nan")},
        {"embeddings": torch.tensor(1.0)},
        {"development": directions(40) * float("inf")},
    ],
    ids=["long", "NaN", "one number", "infinite"],
)
def test_embeddings_that_cannot_be_compared_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    gallery().write(tmp_path)
    path = tmp_path / FILE
    with safe_open(path, "pt") as file:
        metadata, kept = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file({**kept, **tensors}, path, metadata)
    with pytest.raises(ConfigError, match="is damaged, or no gallery"):
        Gallery.open(tmp_path)


def test_a_cut_or_foreign_file_is_refused(tmp_path: Path) -> None:
    gallery().write(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    for content in (
        b"",
        whole[:5],
        whole[:200],
        whole[:-1],
        b"\x80\x04N." + whole,
        np.random.default_rng(0).bytes(500),
    ):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(ConfigError, match="is damaged, or no gallery"):
            Gallery.open(tmp_path)


def test_a_gallery_that_cannot_be_written_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "office" / FILE).mkdir(parents=True)  # in the way
    with pytest.raises(ConfigError, match="cannot be written"):
        gallery().write(tmp_path / "office")
    assert [path.name for path in (tmp_path / "office").iterdir()] == [FILE]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="cannot be written"):
        gallery().write(tmp_path / "file" / "office")


def test_an_open_gallery_outlives_its_replacement(tmp_path: Path) -> None:
    gallery().write(tmp_path)
    first = Gallery.open(tmp_path)
    gallery(9, seed=5).write(tmp_path)
    assert torch.equal(first.embeddings, directions(5))
    assert len(Gallery.open(tmp_path)) == 9
