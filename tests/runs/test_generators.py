"""What a run that makes training faces may have seen."""

from pathlib import Path

import numpy as np
import pytest

from facelab.data import ORL, Folder
from facelab.data.faces import FaceSet
from facelab.data.image_list import ImageList
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError
from facelab.runs.generators import refuse_informed
from tests.data.made import make_images

SOURCE = ORL(image_size=32)


def _parts(train: list[int], val: list[int], test: list[int]) -> Splits:
    first, second, third = (np.array(part, dtype=np.int64) for part in (train, val, test))
    return Splits(first, second, third)


def _refuse(folder: Path, orl: FaceSet, splits: Splits) -> None:
    refuse_informed(folder, SOURCE, orl, splits, "synthetic.run=abc")


def test_the_same_split_is_allowed_and_test_images_elsewhere_are_refused(orl: FaceSet, tmp_path: Path) -> None:
    ImageList.of(SOURCE, orl, _parts([0, 1, 10], [2, 11], [3, 12])).write(tmp_path / "images.parquet")
    _refuse(tmp_path, orl, _parts([0, 1, 10], [2, 11], [3, 12]))
    _refuse(tmp_path, orl, _parts([0, 10], [3], [4, 12]))  # what the generator was tested on is new to it
    for train, val, test, says in (
        ([0, 10], [], [1, 3], "1 of the test images of this run: s1/2.pgm"),
        ([0, 10], [], [2, 3], "1 of the test images of this run: s1/3.pgm"),  # it chose its weights by it
        ([0, 10], [1], [3], "1 of the validation images of this run: s1/2.pgm"),
    ):
        with pytest.raises(ConfigError, match=says):
            _refuse(tmp_path, orl, _parts(train, val, test))


def test_images_whose_names_differ_in_their_suffix_alone_are_told_apart_where_both_are_listed(tmp_path: Path) -> None:
    source = Folder(root=str(make_images(tmp_path / "faces", ["a/1.bmp", "a/1.jpg", "a/1.png", "b/1.png"])))
    faces = source.load()
    assert faces.names[:3] == ["a/1.bmp", "a/1.jpg", "a/1.png"]
    splits = _parts([0, 3], [1], [2])
    ImageList.of(source, faces, splits).write(tmp_path / "images.parquet")
    refuse_informed(tmp_path, source, faces, splits, "synthetic.run=abc")
    with pytest.raises(ConfigError, match=r"1 of the test images of this run: a/1\.bmp"):
        refuse_informed(tmp_path, source, faces, _parts([2, 3], [1], [0]), "synthetic.run=abc")


def test_a_test_person_is_refused_where_the_split_keeps_people_apart(orl: FaceSet, tmp_path: Path) -> None:
    ImageList.of(SOURCE, orl, _parts([0, 1, 40], [], [2])).write(tmp_path / "images.parquet")
    _refuse(tmp_path, orl, _parts([0, 1], [], [2, 50]))
    with pytest.raises(ConfigError, match="1 of the test people of this run: s5"):
        _refuse(tmp_path, orl, _parts([0, 1], [], [41, 50]))  # other images of s5
    with pytest.raises(ConfigError, match="1 of the validation people of this run: s5"):
        _refuse(tmp_path, orl, _parts([0, 1], [41], [50]))


def test_donors_are_people_of_whom_a_run_has_no_further_images(orl: FaceSet, tmp_path: Path) -> None:
    def refuse(train: list[int], test: list[int]) -> None:
        refuse_informed(tmp_path, SOURCE, orl.only(np.arange(20)), _parts(train, [], test), "x", of_donors=True)

    ImageList.of(SOURCE, orl, _parts([0, 1, 300, 301], [], [10])).write(tmp_path / "images.parquet")
    refuse([0, 1], [10])  # none beside those of this training; s2 was tested there, and not learnt
    with pytest.raises(
        ConfigError, match="the donors are 1 of the people of this run, with further images of them: s1"
    ):
        refuse([0, 10], [11])  # /2.pgm of s1 is neither for training nor for testing here


def test_what_is_not_recorded_is_refused(orl: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which images it was trained on is not recorded"):
        _refuse(tmp_path, orl, _parts([0], [], [1]))
    used = ImageList.of(SOURCE, orl, _parts([0], [], [1])).after(None, "older")
    used.write(tmp_path / "images.parquet")
    with pytest.raises(ConfigError, match="is not recorded"):
        _refuse(tmp_path, orl, _parts([0], [], [1]))
