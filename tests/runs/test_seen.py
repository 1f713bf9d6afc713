"""Which test images and people a run has seen."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelab.data import ORL, FaceSource, Folder
from facelab.data.columns import Column
from facelab.data.faces import FaceSet
from facelab.data.image_list import IMAGES, ImageList
from facelab.data.other_people import known_faces
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError
from facelab.runs.seen import Overlap, find_overlap, refuse_familiar, refuse_seen, refuse_unlisted, seen_before
from tests.data.made import make_folder, make_images

NONE = np.arange(0)
AT_AND_T = ORL(image_size=32)


def _part(*indices: int) -> Splits:
    return Splits(NONE, NONE, np.array(indices))


def _trained_on(faces: FaceSet, *indices: int, source: FaceSource = AT_AND_T) -> ImageList:
    test = np.setdiff1d(np.arange(len(faces)), indices)
    return ImageList.of(source, faces, Splits(np.array(indices), NONE, test))


def _seen(
    faces: FaceSet, splits: Splits, used: ImageList, source: FaceSource = AT_AND_T
) -> tuple[list[str], list[str]]:
    found = find_overlap(source, faces, splits, used, with_people=True)
    return list(found.images), list(found.people)


def test_images_and_people_in_training_are_found_and_those_of_its_test_are_not(orl: FaceSet) -> None:
    used = _trained_on(orl, 0, 1, 10)
    assert _seen(orl, _part(1, 2, 11, 20), used) == (["s1/2.pgm"], ["s1", "s2"])
    assert _seen(orl, _part(20, 21, 30), used) == ([], [])
    without = find_overlap(AT_AND_T, orl, _part(1, 11), used, with_people=False)
    assert (list(without.images), list(without.people)) == (["s1/2.pgm"], [])


def test_what_the_runs_behind_a_run_saw_of_its_test_is_told(orl: FaceSet) -> None:
    splits = Splits(np.array([0, 1, 10, 11]), NONE, np.array([2, 12, 20]))  # the third person is new
    own = ImageList.of(AT_AND_T, orl, splits)
    assert seen_before(AT_AND_T, orl, splits, own) == []
    assert seen_before(AT_AND_T, orl, splits, own.after(_trained_on(orl, 0, 1, 13), "a" * 32)) == []
    (of_image,) = seen_before(AT_AND_T, orl, splits, own.after(_trained_on(orl, 2, 13), "a" * 32))
    assert "saw 1 of the 3 test images in training or validation: s1/3.pgm" in of_image
    (of_person,) = seen_before(AT_AND_T, orl, splits, own.after(_trained_on(orl, 21), "a" * 32))
    assert "saw 1 of the 1 test people in training or validation: s3" in of_person


def test_validation_images_count_as_seen(orl: FaceSet) -> None:
    used = ImageList.of(AT_AND_T, orl, Splits(np.array([0]), np.array([10]), np.array([20])))
    assert _seen(orl, _part(10, 21), used) == (["s2/1.pgm"], ["s2"])


def test_equal_names_of_two_sets_are_two_people(tmp_path: Path) -> None:
    first, second = (Folder(root=str(make_folder(tmp_path / name, people=2, pictures=2))) for name in ("a", "b"))
    faces = first.load()
    assert set(faces.columns["identity"].names) == set(second.load().columns["identity"].names)
    other = second.load()
    others = dataclasses.replace(other, digests=[f"{number:064x}" for number in range(len(other))])
    used = _trained_on(faces, 0, 1, 2, 3, source=first)
    assert _seen(others, _part(0, 2), used, second) == ([], [])
    assert _seen(others, _part(0, 2), used, Folder(root=str(tmp_path / "elsewhere" / "a")))[1] == list(
        others.columns["identity"].names
    )


def test_a_copy_in_another_format_is_the_same_image_and_person(tmp_path: Path) -> None:
    original = make_folder(tmp_path / "a" / "faces", people=2, pictures=3)
    for path in original.glob("*/*.png"):
        copy = tmp_path / "b" / "faces" / path.relative_to(original).with_suffix(".jpg")
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(copy, quality=80)
    first, second = Folder(root=str(original)), Folder(root=str(tmp_path / "b" / "faces"))
    faces, copies = first.load(), second.load()
    assert not set(faces.digests) & set(copies.digests)
    used = _trained_on(faces, 0, 1, source=first)
    assert _seen(copies, _part(1, 2, 3), used, second) == (["person0/1.jpg"], ["person0"])
    alone = find_overlap(second, copies, _part(1, 2, 3), used, with_people=False)  # as with protocol=classification
    assert list(alone.images) == ["person0/1.jpg"]
    elsewhere = (tmp_path / "b" / "faces").rename(tmp_path / "b" / "others")  # other people, for all that is known
    assert _seen(copies, _part(1, 2, 3), used, Folder(root=str(elsewhere))) == ([], [])


def test_two_files_of_a_person_that_differ_in_their_suffix_alone_are_two_images(tmp_path: Path) -> None:
    root = make_images(tmp_path / "faces", ["a/1.png", "a/1.jpg", "a/2.png", "b/1.png"])
    source = Folder(root=str(root))
    faces = source.load()
    used = ImageList.of(source, faces, Splits(np.array([1, 3]), NONE, np.array([0, 2])))
    assert find_overlap(source, faces, _part(0, 2), used, with_people=False).images == []
    assert list(find_overlap(source, faces, _part(1, 2), used, with_people=False).images) == [faces.names[1]]


def test_sources_that_share_images_under_equal_names_share_people(orl: FaceSet) -> None:
    used = _trained_on(orl, 0, 10)
    copied = Folder(root="copied")  # s1/1.pgm is in it too, and not of s2 the image that was trained on
    faces = orl.only(np.array([0, 1, 11, 21]))
    assert _seen(faces, _part(1, 2, 3), used, copied) == ([], ["s1", "s2"])


def test_a_person_is_recognised_by_an_image_under_another_name(orl: FaceSet) -> None:
    used = _trained_on(orl, 0, 10)
    renamed = orl.only(np.array([0, 1, 11, 20]))
    renamed = dataclasses.replace(renamed, columns={"identity": Column.of(["x", "x", "s1", "z"])})
    assert _seen(renamed, _part(1, 2, 3), used, Folder(root="renamed")) == ([], ["x"])  # this s1 is another person


def test_the_message_tells_how_many_and_the_first_five() -> None:
    overlap = Overlap([f"{i}.png" for i in range(7)], ["a"], 1000, 9)
    with pytest.raises(ConfigError) as error:
        refuse_seen(overlap, "abc", "refuse")
    assert "7 of the 1,000 images it is tested on: 0.png, 1.png, 2.png, 3.png, 4.png and 2 more." in str(error.value)
    assert "1 of the 9 people it is tested on: a." in str(error.value)
    assert len(refuse_seen(overlap, "abc", "allow")) == 2
    assert refuse_seen(Overlap([], [], 5, 5), "abc", "refuse") == []


def test_runs_without_a_list_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"made by facelab 0\.0\.7, which did not record"):
        refuse_unlisted("abc", "facelab 0.0.7", ["abc"], "refuse")
    with pytest.raises(ConfigError, match="its weights or its images come from first, and what"):
        refuse_unlisted("abc", "facelab 0.0.7", ["first"], "refuse")
    assert "is unknown" in refuse_unlisted("abc", "facelab 0.0.7", ["first"], "allow")[0]
    assert refuse_unlisted("abc", "facelab 0.0.7", [], "refuse") == []


def test_an_embedder_that_knows_the_people_of_a_generator_is_refused(orl: FaceSet, tmp_path: Path) -> None:
    first = ORL(image_size=32, last_person=20)
    with pytest.raises(ConfigError, match=r"has no images\.parquet"):
        refuse_familiar(first, first.load(), tmp_path)
    _trained_on(orl, *range(200, 400)).write(
        tmp_path / IMAGES
    )  # it was tested on the others, which is not to know them
    refuse_familiar(first, first.load(), tmp_path)
    _trained_on(orl, *range(190, 400)).write(tmp_path / IMAGES)
    with pytest.raises(ConfigError, match=r"10 of the 200 images.*1 of the 20 people.*s20.*generation_same_people"):
        refuse_familiar(first, first.load(), tmp_path)


def test_the_faces_that_an_embedder_knows_are_counted(orl: FaceSet, tmp_path: Path) -> None:
    known = ORL(image_size=32, last_person=2)
    ImageList.of(known, known.load(), Splits(np.arange(15), NONE, np.arange(15, 20))).write(tmp_path / IMAGES)
    assert known_faces(tmp_path, orl) == 20
    assert known_faces(tmp_path, ORL(image_size=32, first_person=3).load()) == 0
