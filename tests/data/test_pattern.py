"""Columns from file names."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facelab.config.check import check_node
from facelab.data.sources.pattern import Pattern
from facelab.errors import ConfigError, DataError
from tests.data.made import make_images

YALE = r"(?P<identity>subject\d+)/.*\.(?P<expression>\w+)\.png"
UTKFACE = r"(.*/)?(?P<age>\d+)_(?P<gender>[01])_(?P<race>[0-4])_\d+\..*"
CK = r".*/(?P<identity>S\d+)_(?P<sequence>\d+)_(?P<frame>\d+)\.png"


def test_yales_names(tmp_path: Path) -> None:
    names = [f"subject{person}/subject{person}.{face}.png" for person in (2, 10) for face in ("happy", "sad")]
    found = Pattern(str(make_images(tmp_path / "yale", names)), YALE, label="expression").load()
    assert found.names == names
    assert found.label_names == ["happy", "sad"]
    assert found.columns["identity"].texts.tolist() == ["subject2"] * 2 + ["subject10"] * 2
    assert found.groups.tolist() == [0, 0, 1, 1]


def test_utkfaces_names(tmp_path: Path) -> None:
    names = ["25_0_2_20170104165519828.jpg", "part2/9_1_0_20170104.jpg"]
    found = Pattern(str(make_images(tmp_path / "utk", names)), UTKFACE, label="gender").load()
    assert {name: column.texts.tolist() for name, column in found.columns.items()} == {
        "age": ["25", "9"],
        "gender": ["0", "1"],
        "race": ["2", "0"],
    }
    assert not found.has_identities


def test_the_names_of_ck_plus(tmp_path: Path) -> None:
    names = ["S005/001/S005_001_00000011.png", "S010/002/S010_002_00000001.png"]
    found = Pattern(str(make_images(tmp_path / "ck", names)), CK).load()
    assert found.label_names == ["S005", "S010"]
    assert found.columns["frame"].names == ["00000011", "00000001"]


def test_an_optional_group_without_a_match_has_no_value(tmp_path: Path) -> None:
    root = make_images(tmp_path / "faces", ["ada.png", "bo-2.png"])
    found = Pattern(str(root), r"(?P<identity>[a-z]+)(-(?P<camera>\d))?\.png").load()
    assert found.columns["camera"].codes.tolist() == [-1, 0]


def test_parts_from_names(tmp_path: Path) -> None:
    root = make_images(tmp_path / "faces", ["Training/a1.png", "test/b1.png"])
    found = Pattern(str(root), r"(?P<part>\w+)/(?P<identity>[a-z])\d\.png").load()
    assert found.columns["part"].names == ["test", "train"]
    with pytest.raises(DataError, match=r"column part holds 'a'"):
        Pattern(str(root), r".*/(?P<part>[a-z])\d\.png").load()


def test_images_that_do_not_match_stop_it_or_are_skipped(tmp_path: Path) -> None:
    root = make_images(tmp_path / "faces", ["a.1.png", "b.1.png", *(f"odd{i}.png" for i in range(7))])
    pattern = r"(?P<identity>\w)\.\d\.png"
    with pytest.raises(DataError) as caught:
        Pattern(str(root), pattern).load()
    assert "7 of 9 images do not match" in str(caught.value)
    assert "odd0.png, odd1.png, odd2.png, odd3.png, odd4.png and 2 more." in str(caught.value)
    assert "data.unmatched=skip" in str(caught.value)
    found = Pattern(str(root), pattern, unmatched="skip").load()
    assert found.names == ["a.1.png", "b.1.png"]
    assert "7 of 9 images" in found.notes[0]


@pytest.mark.parametrize("unmatched", ["error", "skip"])
def test_a_pattern_that_matches_nothing_stops_it(tmp_path: Path, unmatched: str) -> None:
    root = make_images(tmp_path / "faces", ["a/1.png", "b/1.png"])
    with pytest.raises(DataError, match=r"none of 2 images matches data\.pattern.*: a/1\.png, b/1\.png"):
        Pattern(str(root), r"(?P<identity>\w)\.png", unmatched).load()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"subject\d+", "expected a named group"),
        ("(?P<identity>", "not a regular expression"),
        ("(?P<1st>.)", "not a regular expression"),
        ("(?P<a>.{99999999999})", "not a regular expression"),
        ("(?P<a>" + "(" * 3000 + ")" * 3001, "not a regular expression"),
    ],
)
def test_what_is_no_pattern_is_refused_before_anything_is_read(pattern: str, says: str) -> None:
    with pytest.raises(DataError, match=r"^data\.pattern=") as caught:
        Pattern("nowhere", pattern)
    assert says in str(caught.value)


def test_a_long_pattern_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.pattern: .*1000"):
        check_node({"_target_": "facelab.data.Pattern", "root": "x", "pattern": "(?P<a>.)" * 200}, "data")


def test_a_name_too_long_is_not_matched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facelab.data.sources.pattern._LONGEST_NAME", 20)
    root = make_images(tmp_path / "faces", ["a1.png", "b1.png", f"{'a' * 30}!.png"])
    began = time.monotonic()
    found = Pattern(str(root), r"(?P<identity>(a+)+|b)1?\.png", unmatched="skip").load()
    assert time.monotonic() - began < 5  # this pattern would try 2 ** 30 ways
    assert len(found) == 2


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    root = make_images(tmp_path / "faces", ["a.png", "b.png"])
    make_images(tmp_path / "elsewhere", ["c.png"])
    (root / "c.png").symlink_to(tmp_path / "elsewhere" / "c.png")
    with pytest.raises(DataError, match=r"c\.png is a symbolic link out of"):
        Pattern(str(root), r"(?P<identity>.)\.png").load()


def test_no_folder_and_no_images_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root: .*nowhere is not a folder"):
        Pattern(str(tmp_path / "nowhere"), YALE).load()
    with pytest.raises(DataError, match=r"data\.root: .* holds no images"):
        Pattern(str(tmp_path), YALE).load()


def test_the_real_yale_faces(real_data: Callable[[str], Path]) -> None:
    found = Pattern(str(real_data("yale")), YALE, label="expression", channels=1).load()
    assert len(found) == 164
    assert len(found.columns["identity"].names) == 15
    assert sorted(np.bincount(found.labels)) == [14] + [15] * 10
    six = Pattern(str(real_data("yale")), YALE.replace(r"\w+", "happy|sad|sleepy|surprised|wink|normal"), "skip").load()
    assert len(six) == 90
    assert "74 of 164" in six.notes[0]
