"""Equal pictures: in two parts, under two labels, left out."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from facelab.data.faces import FaceSet
from facelab.data.sources.folder import Folder
from facelab.data.splits.base import Split, prepare, split
from facelab.data.splits.copies import LIST_NAME
from facelab.data.splits.group_rules import IdentityDisjoint
from facelab.data.splits.rules import FewShot, KFold, Ratio
from facelab.errors import DataError
from tests.data.made import make_folder
from tests.data.test_split_reference import random_set


def _with_copies(faces: FaceSet, *pairs: tuple[int, int]) -> FaceSet:
    """The set with the second of each pair equal to the first."""
    digests = list(faces.digests)
    for one, other in pairs:
        digests[other] = digests[one]
    return dataclasses.replace(faces, digests=digests)


DROPPING: list[Split] = [
    Ratio(duplicates="drop"),
    KFold(duplicates="drop"),
    FewShot(duplicates="drop"),
    IdentityDisjoint(duplicates="drop"),
]


@pytest.mark.parametrize("rule", DROPPING, ids=lambda rule: type(rule).__name__)
def test_the_first_of_several_stays(orl: FaceSet, rule: Split) -> None:
    faces = _with_copies(orl, (3, 7), (3, 8), (25, 21))
    left, splits = prepare(faces, rule)
    gone = {faces.names[7], faces.names[8], faces.names[25]}
    assert set(faces.names) - set(left.names) == gone
    assert len(left) == 397
    assert "split.duplicates=drop: 3 " in splits.notes[0]
    # As if the files were not there.
    without = faces.only(np.array([i for i in range(400) if faces.names[i] not in gone]))
    expected = rule.divide(without)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(splits.items(), expected.items(), strict=True))
    assert np.array_equal(left.pixels[7], orl.pixels[9])


def test_where_there_are_none_nothing_is_said(orl: FaceSet) -> None:
    faces, splits = prepare(orl, Ratio(duplicates="drop"))
    assert faces is orl
    assert splits.notes == ()


def test_a_picture_under_two_labels_stops_with_both_names(orl: FaceSet) -> None:
    faces = _with_copies(orl, (3, 17), (200, 205))
    with pytest.raises(DataError) as caught:
        split(faces, IdentityDisjoint(30))  # both are for training
    for fact in ("s1/4.pgm (s1)", "s2/8.pgm (s2)", "1 images", "label", "split.duplicates=drop"):
        assert fact in str(caught.value)


def test_a_picture_under_two_labels_is_left_out_with_all_its_copies(orl: FaceSet) -> None:
    left, splits = prepare(_with_copies(orl, (3, 4), (3, 17), (200, 205)), Ratio(duplicates="drop"))
    assert set(orl.names) - set(left.names) == {orl.names[i] for i in (3, 4, 17, 205)}
    assert "split.duplicates=drop: 1 " in splits.notes[0]
    assert "split.duplicates=drop: 3 " in splits.notes[1]
    assert "two labels" in splits.notes[1]


def test_a_set_of_copies_alone_is_refused(orl: FaceSet) -> None:
    faces = dataclasses.replace(random_set([8, 8], 0), digests=["a"] * 16)
    with pytest.raises(DataError, match=r"16 .*0 classes"):
        split(faces, Ratio(duplicates="drop"))


def test_a_class_that_has_only_copies_left_counts_as_few(orl: FaceSet) -> None:
    faces = _with_copies(orl, *((0, i) for i in range(1, 10)))
    with pytest.raises(DataError, match="1 of 40 classes"):
        split(faces, Ratio(duplicates="drop"))
    left, splits = prepare(faces, Ratio(duplicates="drop", few="drop"))
    assert len(left.label_names) == 39
    assert len(splits.notes) == 2


def _leaking(orl: FaceSet) -> tuple[FaceSet, list[tuple[str, str]]]:
    """Every test picture a copy of a training picture of the same person."""
    splits = Ratio().divide(orl)
    train_of = {int(orl.labels[i]): int(i) for i in splits.train}
    pairs = [(train_of[int(orl.labels[i])], int(i)) for i in splits.test]
    return _with_copies(orl, *pairs), [(orl.names[one], orl.names[other]) for one, other in pairs]


def test_a_long_list_is_whole_in_a_file(orl: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    faces, pairs = _leaking(orl)
    with pytest.raises(DataError) as caught:
        split(faces, Ratio())
    assert str(tmp_path / LIST_NAME) in str(caught.value)
    assert "split.duplicates=drop" in str(caught.value)
    with (tmp_path / LIST_NAME).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["image"], row["same_as"]) for row in rows} == set(pairs)
    assert {(row["part"], row["same_as_part"]) for row in rows} == {("train", "test")}
    assert [path.name for path in tmp_path.iterdir()] == [LIST_NAME]


def test_the_list_never_goes_into_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = make_folder(tmp_path / "faces", people=2, pictures=10)
    for number in range(10):  # every picture of one person under the other's name too
        (root / "person1" / f"x{number}.png").write_bytes((root / "person0" / f"{number}.png").read_bytes())
        (root / "person0" / f"y{number}.png").write_bytes((root / "person1" / f"{number}.png").read_bytes())
        (root / "person1" / f"z{number}.png").write_bytes((root / "person0" / f"{number}.png").read_bytes())
    monkeypatch.chdir(root / "person0")
    with pytest.raises(DataError, match=LIST_NAME):
        split(Folder(str(root)).load(), Ratio())
    assert not list(root.rglob("*.csv"))
    assert (tmp_path / "cache" / "facelab" / LIST_NAME).is_file()


def test_identical_pictures_of_a_person_are_told_and_dropped(tmp_path: Path) -> None:
    """As nine of Yale's."""
    root = make_folder(tmp_path / "faces", people=3, pictures=8)
    for person in range(3):
        copied = (root / f"person{person}" / "0.png").read_bytes()
        (root / f"person{person}" / "noglasses.png").write_bytes(copied)
    faces = Folder(str(root)).load()
    left, splits = prepare(faces, FewShot(train_per_identity=4, duplicates="drop"))
    assert len(left) == 24
    assert "split.duplicates=drop: 3 " in splits.notes[0]
    assert "noglasses" not in " ".join(left.names)
