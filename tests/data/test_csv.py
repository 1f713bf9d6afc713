"""Images that a CSV or Parquet file lists."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from facelab.data import tables
from facelab.data.sources.csv_file import CSV
from facelab.data.splits.base import split
from facelab.data.splits.given import Official
from facelab.data.splits.rules import Ratio
from facelab.errors import DataError
from tests.data.made import make_images

PATHS = ["ada/1.png", "ada/2.png", "王/1.png"]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], CSV]:
    """A source of three images with this text as its CSV."""
    make_images(tmp_path, PATHS)

    def write(text: str) -> CSV:
        (tmp_path / "faces.csv").write_bytes(text.encode())
        return CSV(str(tmp_path / "faces.csv"))

    return write


def _lines(*lines: str) -> str:
    return "\n".join(["path,identity,age", *lines])


GOOD = _lines("ada/1.png,ada,0012", 'ada/2.png,"Lovelace, Ada",NA', "王/1.png,null,")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_texts_stay_as_they_are_written(written: Callable[[str], CSV], delimiter: str, newline: str) -> None:
    text = GOOD.replace("Lovelace, Ada", "Lovelace+ Ada").replace(",", delimiter).replace("+", ",")
    found = written("\ufeff" + text.replace("\n", newline) + newline * 2).load()
    assert found.names == PATHS
    assert found.columns["age"].texts.tolist() == ["0012", "NA", ""]
    assert found.label_names == ["ada", "Lovelace, Ada", "null"]
    assert found.columns["age"].codes.tolist() == [0, 1, -1]
    assert set(found.columns) == {"identity", "age"}


def test_pandas_reads_the_same(written: Callable[[str], CSV], tmp_path: Path) -> None:
    found = written(GOOD).load()
    frame = pd.read_csv(tmp_path / "faces.csv", dtype=str, keep_default_na=False)
    assert all(found.columns[name].texts.tolist() == frame[name].tolist() for name in ("identity", "age"))


def test_the_order_of_rows_is_kept_and_an_index_is_left_out(tmp_path: Path) -> None:
    make_images(tmp_path, PATHS)
    pd.DataFrame({"path": PATHS[::-1], "identity": ["c", "b", "a"]}).to_csv(tmp_path / "x.csv")
    found = CSV(str(tmp_path / "x.csv")).load()
    assert found.names == PATHS[::-1]
    assert found.label_names == ["c", "b", "a"]
    assert set(found.columns) == {"identity"}


def test_spaces_in_the_header_and_before_cells_do_not_count(written: Callable[[str], CSV]) -> None:
    found = written('path , identity\nada/1.png, "ada"\nada/2.png, bo').load()
    assert found.label_names == ["ada", "bo"]


def test_a_parquet_file_holds_numbers_and_categories_too(tmp_path: Path) -> None:
    make_images(tmp_path, PATHS)
    frame = pd.DataFrame({"path": PATHS, "age": [7, None, 12], "glasses": [True, False, None]})
    frame["age"] = frame["age"].astype("Int64")
    frame["identity"] = pd.Categorical(["ada", "ada", "王"])
    frame.to_parquet(tmp_path / "faces.parquet")
    found = CSV(str(tmp_path / "faces.parquet"), label="identity").load()
    assert found.columns["age"].texts.tolist() == ["7", "", "12"]
    assert found.columns["glasses"].texts.tolist() == ["true", "false", ""]
    assert found.labels.tolist() == [0, 0, 1]


def test_paths_start_from_the_root_and_may_be_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_images(tmp_path / "images", PATHS)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "x.csv").write_text(_lines("ada/../ada/1.png,ada,1", f"{root}/王/1.png,bo,2"))
    found = CSV(str(tmp_path / "lists" / "x.csv"), str(root)).load()
    assert found.names == ["ada/1.png", "王/1.png"]
    monkeypatch.chdir(tmp_path)
    assert CSV("lists/x.csv", "images").load().names == found.names


def test_parts_are_taken_for_the_official_split(written: Callable[[str], CSV]) -> None:
    found = written("path,identity,part\nada/1.png,a,Training\n王/1.png,b,test").load()
    assert found.columns["part"].texts.tolist() == ["train", "test"]
    with pytest.raises(DataError, match=r"data\.file: .* part holds 'holdout'"):
        written("path,identity,part\nada/1.png,a,train\n王/1.png,b,holdout").load()


def test_a_split_by_chance_ignores_no_part(written: Callable[[str], CSV]) -> None:
    found = written("path,identity,part\nada/1.png,a,train\nada/2.png,a,\n王/1.png,b,test").load()
    with pytest.raises(DataError, match=r"train \(1 images\), test \(1 images\).*rename the column 'part'"):
        split(found, Ratio())


def test_images_of_no_part_are_counted_beside_copies(written: Callable[[str], CSV], tmp_path: Path) -> None:
    rows = "path,identity,part\nada/1.png,a,train\n王/1.png,b,test\nada/2.png,a,\nada/3.png,a,train\nada/4.png,b,train"
    make_images(tmp_path, ["ada/3.png", "ada/4.png"])
    source = written(rows)
    (tmp_path / "ada" / "3.png").write_bytes((tmp_path / "ada" / "1.png").read_bytes())
    notes = " ".join(split(source.load(), Official(duplicates="drop")).notes)
    assert "1 images are copies" in notes
    assert "1 of 5 images belong to no split" in notes


BAD = [
    ("", r"is empty \(0 bytes\)"),
    ("\n \n", "is empty. Expected a CSV or Parquet file with a header"),
    ("path,identity\n", "has no rows"),
    ("file,identity\nada/1.png,a", "data.path_column=path: .*Its columns: file, identity"),
    ("paths,identity\nada/1.png,a", "Did you mean 'paths'"),
    ("path,identity,identity\nada/1.png,a,b", "several columns 'identity'"),
    (_lines("ada/1.png,a,1", "ada/2.png,b"), "line 3: 2 fields, but the header has 3"),
    (_lines("ada/1.png,a,1,2"), "line 2: 4 fields"),
    (_lines('ada/1.png,"a,1', "ada/2.png,b,2"), "double quotes"),
    (_lines("ada/1.png," + "a" * 200_000 + ",1"), "not valid CSV"),
    (_lines("ada/1.png,a,1", ",b,2"), "1 of 2 rows have no path"),
    (_lines(*(f"gone{i}.png,a,1" for i in range(7)), "ada/1.png,b,1"), "7 of 8 images do not exist.*4.png and 2 more"),
    (_lines(r"ada\1.png,a,1"), "Write / between folders"),
    (_lines("ada/1.png\0,a,1", "ada/2.png,b,1"), "do not exist"),
    (_lines("../secret.png,a,1", "ada/1.png,b,1"), r"1 of 2 images lie outside .*: \.\./secret\.png"),
    (_lines("/etc/hostname,a,1", "ada/1.png,b,1"), "1 of 2 images lie outside .*: /etc/hostname"),
    (_lines("ada/1.png,a,1", "ada/../ada/1.png,b,1"), "more than once"),
    (_lines("ada/1.png,a,1", "ada/2.png,,2"), "1 of 2 images have no identity.*ada/2.png"),
    ("path,person\nada/1.png,a\nada/2.png,b", "data.label=identity"),
    ("path" + ",x" * 1000, "1,001 columns; at most 1,000"),
]


@pytest.mark.parametrize(("text", "says"), BAD, ids=[says[:30] for _, says in BAD])
def test_a_bad_file_is_told_in_one_message(written: Callable[[str], CSV], text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        written(text).load()
    assert len(str(caught.value).splitlines()) == 1
    assert "faces.csv" in str(caught.value)


def test_other_encodings_are_told(written: Callable[[str], CSV], tmp_path: Path) -> None:
    source = written(GOOD)
    for encoding in ("utf-16", "latin-1"):
        (tmp_path / "faces.csv").write_text(_lines("ada/1.png,Jürgen,1"), encoding=encoding)
        with pytest.raises(DataError, match="UTF-8"):
            source.load()


@pytest.mark.parametrize("link", ["file", "folder", "broken", "circle"])
def test_links_out_of_the_root_are_refused(written: Callable[[str], CSV], tmp_path: Path, link: str) -> None:
    source = written(_lines("ada/1.png,a,1", "x/1.png,b,1"))
    outside = make_images(tmp_path.parent / f"{tmp_path.name}-outside", ["1.png"])
    if link == "folder":
        (tmp_path / "x").symlink_to(outside, target_is_directory=True)
    else:
        (tmp_path / "x").mkdir()
        target = {"file": outside / "1.png", "broken": Path("gone.png"), "circle": Path("1.png")}[link]
        (tmp_path / "x" / "1.png").symlink_to(target)
    with pytest.raises(DataError, match=r"1 of 2 images lie outside .*symbolic link: x/1\.png"):
        source.load()


def test_a_link_within_the_root_is_followed(written: Callable[[str], CSV], tmp_path: Path) -> None:
    source = written(_lines("ada/1.png,a,1", "x/1.png,b,1"))
    (tmp_path / "x").symlink_to(tmp_path / "王", target_is_directory=True)
    assert len(source.load()) == 2


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.csv")
    for name, says in (("x.csv", "is a FIFO"), (".", "is a folder"), ("gone.csv", "does not exist"), ("a\0", "exist")):
        with pytest.raises(DataError, match=rf"data\.file: .*{says}"):
            CSV(str(tmp_path / name)).load()


def test_a_huge_file_is_not_read(written: Callable[[str], CSV], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="at most 10 are read"):
        written(GOOD).load()


def test_bad_parquet_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="not a Parquet file, or is damaged"):
        CSV(str(path)).load()
    make_images(tmp_path, PATHS)
    pd.DataFrame({"path": PATHS, "image": [b"1", b"2", b"3"]}).to_parquet(path)
    with pytest.raises(DataError, match="column 'image' is of type binary"):
        CSV(str(path)).load()
    foreign = pa.array([b"\xe9"] * 3).view(pa.string())
    parquet.write_table(pa.table({"path": PATHS, "identity": foreign}), path)
    with pytest.raises(DataError, match="not a Parquet file, or is damaged"):
        CSV(str(path)).load()
    pd.DataFrame({"path": ["x" * 50] * 100_000}).to_parquet(path)
    monkeypatch.setattr(tables, "MOST_BYTES", path.stat().st_size)
    pd.DataFrame({"path": [f"{i:020}" for i in range(1000)]}).to_parquet(path, compression="zstd")
    with pytest.raises(DataError, match=r"at most .* are read"):
        CSV(str(path)).load()
