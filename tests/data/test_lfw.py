"""Labeled Faces in the Wild: names of files, lists of people and pairs."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facelab.data.sources.lfw import LFW, Pair, Person, read_pairs, read_people
from facelab.data.splits.given import Official
from facelab.errors import DataError
from tests.data.made import make_images

COUNTS = {"Ada": 3, "Bo_B": 1, "Cy": 2, "王": 2}
PAIRS = "1\nAda\t1\t3\nAda\t2\tBo_B\t1\n"


def _make(root: Path) -> str:
    names = [f"{name}/{name}_{number + 1:04}.jpg" for name, count in COUNTS.items() for number in range(count)]
    return str(make_images(root / "lfw", names))


def _write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_people_come_with_all_their_images(tmp_path: Path) -> None:
    found = LFW(_make(tmp_path)).load()
    assert dict(zip(found.label_names, np.bincount(found.labels).tolist(), strict=True)) == COUNTS
    assert found.names[3] == "Bo_B/Bo_B_0001.jpg"
    assert not found.notes


def test_people_with_few_images_are_left_out_and_counted(tmp_path: Path) -> None:
    found = LFW(_make(tmp_path), min_images_per_identity=2).load()
    assert found.label_names == ["Ada", "Cy", "王"]
    assert "1 of 4 people have fewer images and are left out (1 images)" in found.notes[0]
    with pytest.raises(DataError, match=r"1 of 4 people have enough.*lower it to 2 or less"):
        LFW(_make(tmp_path / "again"), min_images_per_identity=3).load()


@pytest.mark.parametrize(
    "name", ["Ada/0004.jpg", "Ada/Bo_0004.jpg", "Ada/Ada_4.jpg", "Ada_0004.jpg", "x/Ada/Ada_0004.jpg"]
)
def test_a_file_with_another_name_is_told(tmp_path: Path, name: str) -> None:
    root = _make(tmp_path)
    make_images(Path(root), [name])
    with pytest.raises(DataError, match=f"{name} is not named as in LFW.*data=folder"):
        LFW(root).load()


def test_a_folder_above_lfw_is_told_where_lfw_is(tmp_path: Path) -> None:
    root = _make(tmp_path / "unpacked" / "lfw")
    with pytest.raises(DataError, match=re.escape(f"Set data.root={root}.")):
        LFW(str(tmp_path)).load()


def test_lists_of_pairs_give_the_parts(tmp_path: Path) -> None:
    train = _write(tmp_path / "train.txt", PAIRS)
    test = _write(tmp_path / "test.txt", "1\n王\t1\t2\n王\t1\tEve\t9\n")
    found = LFW(_make(tmp_path), train_list=train, test_list=test).load()
    assert found.columns["part"].texts.tolist() == ["train"] * 4 + ["test"] * 2
    assert "1 people have no images" in found.notes[0]
    assert "Eve" in found.notes[0]
    assert "name 3 of 4 people; 2 images of others are left out" in found.notes[1]
    splits = Official().divide(found)
    assert splits.train.tolist() == [0, 1, 2, 3]
    assert splits.test.tolist() == [4, 5]


def test_lists_of_people_give_the_parts_too(tmp_path: Path) -> None:
    train = _write(tmp_path / "train.txt", "2\nAda\t3\nBo_B\t1\n")
    test = _write(tmp_path / "test.txt", "2\nCy\t2\n王\t2\n")
    found = LFW(_make(tmp_path), train_list=train, test_list=test).load()
    assert found.columns["part"].texts.tolist() == ["train"] * 4 + ["test"] * 4
    assert not found.notes


def test_lists_that_do_not_fit_are_told(tmp_path: Path) -> None:
    root, train = _make(tmp_path), _write(tmp_path / "train.txt", PAIRS)
    other = _write(tmp_path / "other.txt", "1\nX\t1\t3\nX\t2\tY\t1\n")
    with pytest.raises(DataError, match="share 2 people: Ada, Bo_B"):
        LFW(root, train_list=train, test_list=train).load()
    with pytest.raises(DataError, match="only one is given"):
        LFW(root, train_list=train)
    with pytest.raises(DataError, match=r"data\.test_list: .*gone\.txt does not exist"):
        LFW(root, train_list=train, test_list=str(tmp_path / "gone.txt")).load()
    elsewhere = str(make_images(tmp_path / "lfw2", ["Z/Z_0001.jpg", "W/W_0001.jpg"]))
    with pytest.raises(DataError, match="none of the 4 people"):
        LFW(elsewhere, train_list=train, test_list=other).load()


def test_pairs_of_several_folds(tmp_path: Path) -> None:
    text = "2\t1\nA\t1\t2\nA\t1\tB\t3\nC\t4\t5\nC\t1\tD\t1\n"
    assert read_pairs(_write(tmp_path / "pairs.txt", text)) == [
        Pair(0, ("A", 1), ("A", 2)),
        Pair(0, ("A", 1), ("B", 3)),
        Pair(1, ("C", 4), ("C", 5)),
        Pair(1, ("C", 1), ("D", 1)),
    ]
    assert [pair.is_same for pair in read_pairs(_write(tmp_path / "pairs.txt", PAIRS))] == [True, False]
    assert read_pairs(_write(tmp_path / "x.txt", text.replace("\t", " "))) == read_pairs(
        _write(tmp_path / "y.txt", text.replace("\n", "\r\n"))
    )


def test_people_of_several_folds(tmp_path: Path) -> None:
    assert read_people(_write(tmp_path / "people.txt", "2\n1\nA\t3\n2\nB\t1\nC\t2\n")) == [
        Person(0, "A", 3),
        Person(1, "B", 1),
        Person(1, "C", 2),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1\nA\t1\t2\nA\t1\tB\n", "line 3: expected four fields"),
        ("1\nA\t1\nA\t1\tB\t1\n", "line 2: expected three fields"),
        ("1\nA\t1\t2\nA\t1\tA\t2\n", "line 3: expected four fields"),
        ("1\nA\t1\tx\nA\t1\tB\t2\n", "line 2: expected the numbers of two images, got 'A 1 x'"),
        ("1\nA\t0\t1\nA\t1\tB\t2\n", "line 2: expected the numbers of two images"),
        ("2\nA\t1\t2\nA\t1\tB\t2\n", "2 pairs, but its first line announces 1 x 2 x 2 = 4"),
        ("10\t300\n", "0 pairs, but its first line announces 10 x 2 x 300 = 6,000"),
        ("1" * 99 + "\nA\t1\t2\n", "line 1: expected the numbers of folds and of pairs"),
        ("names\nA\t1\t2\n", "line 1: expected the numbers of folds and of pairs"),
        ("\n\n", "is empty"),
        ("", "is empty"),
    ],
)
def test_bad_pairs_are_told_with_the_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=rf"pairs: .*pairs\.txt.*{says}"):
        read_pairs(_write(tmp_path / "pairs.txt", text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2\nA\t1\n", "ends within fold 1 of 1"),
        ("1\nA\t1\nB\t2\n", "line 3: expected the end of the file, got 'B 2'"),
        ("2\nA\t1\nB\t2\t3\n", "line 3: expected two fields"),
        ("2\nA\t1\nB\tmany\n", "line 3: expected a number of images"),
        ("2\n1\nA\t1\n", "ends before fold 2 of 2"),
    ],
)
def test_bad_lists_of_people_are_told_with_the_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=rf"people: .*{says}"):
        read_people(_write(tmp_path / "people.txt", text))


def test_a_list_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_bytes(b"\x80\x04\x95")
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_pairs(str(tmp_path / "pairs.txt"))


def test_the_real_lists(real_data: Callable[[str], Path]) -> None:
    folds = Counter((pair.fold, pair.is_same) for pair in read_pairs(str(real_data("pairs.txt"))))
    assert folds == {(fold, same): 300 for fold in range(10) for same in (True, False)}
    assert Counter(pair.is_same for pair in read_pairs(str(real_data("pairsDevTrain.txt")))) == {
        True: 1100,
        False: 1100,
    }
    assert Counter(pair.is_same for pair in read_pairs(str(real_data("pairsDevTest.txt")))) == {True: 500, False: 500}


@pytest.mark.slow
def test_the_real_faces(real_data: Callable[[str], Path]) -> None:
    root = real_data("lfw")
    whole = LFW(str(root)).load()
    assert (len(whole), len(whole.label_names)) == (13_233, 5_749)
    assert int((np.bincount(whole.labels) > 1).sum()) == 1_680
    names = set(whole.names)
    for pair in read_pairs(str(root.parent / "pairs.txt")):
        for person, number in (pair.first, pair.second):
            assert f"{person}/{person}_{number:04}.jpg" in names
    twenty = LFW(str(root), min_images_per_identity=20).load()
    assert (len(twenty), len(twenty.label_names)) == (3_023, 62)  # as scikit-learn's fetch_lfw_people
    lists = [str(root.parent / f"pairsDev{part}.txt") for part in ("Train", "Test")]
    splits = Official().divide(LFW(str(root), train_list=lists[0], test_list=lists[1]).load())
    assert len(splits.train) > len(splits.test) > 1000
