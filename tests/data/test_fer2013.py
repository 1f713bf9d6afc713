"""FER2013 in the forms people have: two CSV files, Kaggle's pair, folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelab.data.faces import FaceSet
from facelab.data.sources.fer2013 import FER2013
from facelab.errors import DataError
from tests.data.made_formats import CLASSES, pictures, write_fer2013

EMOTIONS = [6, 0, 3, 3, 1, 2, 4, 5]
USAGES = ["Training"] * 4 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
PARTS = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
PIXELS = pictures(8, 48, 1)


def _is_as_written(found: FaceSet, emotions: list[int] = EMOTIONS) -> None:
    assert found.columns["expression"].texts.tolist() == [CLASSES[emotion] for emotion in emotions]
    assert np.array_equal(np.stack([found.pixels[index] for index in range(len(found))]), PIXELS[: len(emotions)])


def test_the_csv_is_read_as_written(tmp_path: Path) -> None:
    path = write_fer2013(tmp_path / "fer2013.csv", PIXELS, EMOTIONS, USAGES)
    found = FER2013(root=str(tmp_path)).load()
    _is_as_written(found)
    assert found.columns["part"].texts.tolist() == PARTS
    assert FER2013(root=str(path)).load().columns["part"].texts.tolist() == PARTS
    assert found.name == "fer2013"


def test_other_columns_order_spaces_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    rows = [
        f'{emotion},{usage}," {"  ".join(map(str, image.ravel().tolist()))} "\r\n'
        for emotion, usage, image in zip(EMOTIONS, USAGES, PIXELS, strict=True)
    ]
    (tmp_path / "icml_face_data.csv").write_text("\ufeffemotion, Usage, pixels\r\n" + "".join(rows), encoding="utf-8")
    (tmp_path / "train.csv").write_text("not read, since the other one is complete")
    found = FER2013(root=str(tmp_path)).load()
    _is_as_written(found)
    assert found.columns["part"].texts.tolist() == PARTS


def test_many_rows_are_read_in_blocks(tmp_path: Path) -> None:
    pixels, emotions = pictures(530, 48, 1), [index % 7 for index in range(530)]
    found = FER2013(root=str(write_fer2013(tmp_path / "f.csv", pixels, emotions, ["Training"] * 530))).load()
    assert all(np.array_equal(found.pixels[index], pixels[index]) for index in (0, 255, 256, 529))
    assert len(found) == len(set(found.names)) == 530


def _kaggle(path: Path, labels: bool) -> None:
    rows = [
        (f"{e}," if labels else "") + " ".join(map(str, i.ravel().tolist()))
        for e, i in zip(EMOTIONS, PIXELS, strict=True)
    ]
    path.write_text("\n".join(["emotion,pixels" if labels else "pixels", *rows]))


def test_a_test_file_without_labels_is_left_out_and_told(tmp_path: Path) -> None:
    _kaggle(tmp_path / "train.csv", labels=True)
    _kaggle(tmp_path / "test.csv", labels=False)
    found = FER2013(root=str(tmp_path)).load()
    _is_as_written(found)
    assert "part" not in found.columns
    assert "test.csv has no labels and is left out" in found.notes[0]
    with pytest.raises(DataError, match=r"data\.root.*test\.csv has no column 'emotion'"):
        FER2013(root=str(tmp_path / "test.csv")).load()


def test_a_test_file_with_labels_is_the_test_part(tmp_path: Path) -> None:
    _kaggle(tmp_path / "train.csv", labels=True)
    _kaggle(tmp_path / "test.csv", labels=True)
    assert FER2013(root=str(tmp_path)).load().columns["part"].texts.tolist() == ["train"] * 8 + ["test"] * 8


def test_folders_are_read_by_class(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number, name in enumerate(CLASSES):
            (tmp_path / part / name.capitalize()).mkdir(parents=True)
            Image.fromarray(PIXELS[number, ..., 0]).save(tmp_path / part / name.capitalize() / "1.png")
    found = FER2013(root=str(tmp_path)).load()
    written = [name.split("/") for name in found.names]
    assert found.columns["expression"].texts.tolist() == [name.lower() for _, name, _ in written]
    assert found.columns["part"].texts.tolist() == [part for part, _, _ in written]
    assert list(found.label_names) == sorted(CLASSES)
    assert set(found.columns) == {"expression", "part"}
    (tmp_path / "test" / "Happy").rename(tmp_path / "test" / "hapy")
    with pytest.raises(DataError, match=r"'hapy' is not a class of FER2013\. Did you mean '?happy"):
        FER2013(root=str(tmp_path)).load()


IMAGE = " ".join(["7"] * 2304)
BAD = {
    "short": (f"0,{IMAGE},Training\n1,{IMAGE[:-2]},Training\n", "line 3: not 2,304 pixels"),
    "long": (f"0,{IMAGE} 7,Training\n", "line 2: not 2,304 pixels"),
    "large": (f"0,{IMAGE[:-1]}256,Training\n", "line 2: not 2,304 pixels"),
    "huge": (f"0,{IMAGE[:-1]}1007,Training\n", "line 2: not 2,304 pixels"),
    "negative": (f"0,{IMAGE[:-1]}-1,Training\n", "line 2: not 2,304 pixels"),
    "word": (f"0,{IMAGE[:-1]}x,Training\n", "line 2: not 2,304 pixels"),
    "two in one": (f'0,"{IMAGE}\n{IMAGE}",Training\n', "line 2: not 2,304 pixels"),
    "empty": ("0,,Training\n", "line 2: not 2,304 pixels"),
    "emotion": (f"7,{IMAGE},Training\n", "line 2: emotion '7' is none of 0, 1, 2, 3, 4, 5, 6"),
    "no emotion": (f",{IMAGE},Training\n", "line 2: emotion '' is none of"),
    "usage": (f"0,{IMAGE},Train\n", "line 2: Usage 'Train' is none of Training, PublicTest, PrivateTest"),
    "few fields": ("0\n", "line 2: not 2,304 pixels"),
    "fields": (f"0,{IMAGE},Training\n0,1,2,3\n", "is not a CSV file"),
    "many": (f"9,{IMAGE},Training\n" * 9, "9 values of fer2013.csv are unusable"),
}


@pytest.mark.parametrize(("rows", "says"), BAD.values(), ids=BAD)
def test_bad_rows_are_told_by_line(tmp_path: Path, rows: str, says: str) -> None:
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + rows)
    with pytest.raises(DataError) as caught:
        FER2013(root=str(tmp_path)).load()
    assert says in str(caught.value)
    assert f"data.root: {tmp_path}" in str(caught.value)


@pytest.mark.parametrize(("text", "says"), [("a,b\n1,2\n", "has no column 'pixels', but a, b"), ("", "is not a CSV")])
def test_another_csv_is_told(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "fer2013.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        FER2013(root=str(tmp_path)).load()


def test_a_set_without_rows_and_a_missing_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root.*is neither a CSV file nor a folder"):
        FER2013(root=str(tmp_path)).load()
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    with pytest.raises(DataError, match="holds no images"):
        FER2013(root=str(tmp_path)).load()
