"""CelebA and RAF-DB, whose images are files and whose columns are in lists."""

from pathlib import Path

import numpy as np
import pytest

from facelab.data.faces import FaceSet
from facelab.data.sources.celeba import CelebA
from facelab.data.sources.rafdb import RAFDB
from facelab.errors import DataError
from tests.data.made_formats import pictures, write_celeba, write_rafdb

PEOPLE, SMILING, PARTS = [2880, 9, 9, 2880], [1, -1, 1, -1], [0, 0, 1, 2]
EXPRESSIONS = [("train_00001.jpg", 5), ("train_00002.jpg", 1), ("test_0001.jpg", 7), ("test_0002.jpg", 4)]


def _is_as_written(found: FaceSet) -> None:
    assert list(found.names) == [f"img_align_celeba/00000{number}.jpg" for number in (1, 2, 3, 4)]
    assert found.columns["identity"].texts.tolist() == ["2880", "9", "9", "2880"]
    assert found.columns["Smiling"].texts.tolist() == ["no", "yes", "no", "yes"]
    assert found.columns["5_o_Clock_Shadow"].texts.tolist() == ["yes", "no", "yes", "no"]
    assert found.columns["part"].texts.tolist() == ["train", "train", "val", "test"]
    assert np.array_equal(np.stack([found.pixels[index] for index in range(4)]), pictures(4))


def test_celeba_is_read_as_written(tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "celeba", PEOPLE, SMILING, PARTS)
    found = CelebA(root=str(root), image_size=16).load()
    _is_as_written(found)
    assert found.label == "Smiling"
    assert list(CelebA(root=str(root), image_size=16, label="identity").load().label_names) == ["2880", "9"]


def test_celebas_lists_may_lie_in_its_archives_folders_and_in_any_order(tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "celeba", PEOPLE, SMILING, PARTS)
    for folder in ("Anno", "Eval", "Img"):
        (root / folder).mkdir()
    (root / "img_align_celeba").rename(root / "Img" / "img_align_celeba")
    (root / "list_attr_celeba.txt").rename(root / "Anno" / "list_attr_celeba.txt")
    (root / "list_eval_partition.txt").rename(root / "Eval" / "list_eval_partition.txt")
    lines = (root / "identity_CelebA.txt").read_text().splitlines(keepends=True)
    (root / "identity_CelebA.txt").write_text("".join(reversed(lines)))
    found = CelebA(root=str(root), image_size=16).load()
    assert found.columns["identity"].texts.tolist() == ["2880", "9", "9", "2880"]
    assert np.array_equal(found.pixels[3], pictures(4)[3])


def test_celeba_without_identities_is_fine_where_they_are_not_needed(tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "celeba", PEOPLE, SMILING, PARTS)
    (root / "identity_CelebA.txt").unlink()
    assert not CelebA(root=str(root)).load().has_identities
    with pytest.raises(DataError, match=r"data\.label=identity needs identity_CelebA\.txt, which is missing"):
        CelebA(root=str(root), label="identity").load()


def test_an_unknown_attribute_is_told_with_the_nearest(tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "celeba", PEOPLE, SMILING, PARTS)
    with pytest.raises(DataError, match=r"data\.label=Smilling: .* has no column .*Did you mean Smiling\?"):
        CelebA(root=str(root), label="Smilling").load()


BAD = {
    "images": ("img_align_celeba/000002.jpg", None, r"000002\.jpg is not readable"),
    "fewer": ("list_eval_partition.txt", "000001.jpg 1\n000002.jpg 1\n000003.jpg 1\n", "1 are in one of them only"),
    "twice": ("identity_CelebA.txt", "000001.jpg 1\n000001.jpg 1\n", "more than once, such as 000001"),
    "elsewhere": ("list_eval_partition.txt", "../000001.jpg 1\n", "names images of other folders"),
    "number": ("list_eval_partition.txt", "1 1\n2 1\n", "list different images"),
    "word": ("identity_CelebA.txt", "000001.jpg one\n", r"identity_CelebA\.txt: .*Expected lines `000001\.jpg 2880`"),
    "value": ("list_attr_celeba.txt", "1\nSmiling\n000001.jpg 0\n", "other values than -1, 1"),
    "part": ("list_eval_partition.txt", "000001.jpg 3\n", "other values than 0, 1, 2"),
    "empty": ("list_eval_partition.txt", "", r"list_eval_partition\.txt: "),
    "columns": ("list_eval_partition.txt", "000001.jpg 1 1\n", r"list_eval_partition\.txt: it has 2 values per image"),
    "no attributes": ("list_attr_celeba.txt", None, r"data\.label=Smiling needs list_attr_celeba\.txt"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "content", "says"), BAD.values(), ids=BAD)
def test_bad_lists_of_celeba_are_told(tmp_path: Path, file: str, content: str | None, says: str) -> None:
    root = write_celeba(tmp_path / "celeba", PEOPLE, SMILING, PARTS)
    if content is None:
        (root / file).unlink()
    else:
        (root / file).write_text(content)
    with pytest.raises(DataError, match=says) as caught:
        CelebA(root=str(root)).load()
    assert str(root) in str(caught.value)


def test_celeba_without_its_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root.*holds no folder img_align_celeba"):
        CelebA(root=str(tmp_path)).load()


def test_rafdb_is_read_as_written(tmp_path: Path) -> None:
    found = RAFDB(root=str(write_rafdb(tmp_path / "basic", EXPRESSIONS)), image_size=16).load()
    assert found.columns["expression"].texts.tolist() == ["sad", "surprise", "neutral", "happy"]
    assert found.columns["part"].texts.tolist() == ["train", "train", "test", "test"]
    assert found.names[2] == "Image/aligned/test_0001_aligned.jpg"
    assert np.array_equal(np.stack([found.pixels[index] for index in range(4)]), pictures(4))
    assert not found.has_identities


@pytest.mark.parametrize(
    "row", ["train_1.jpg 0", "train_1.jpg 8", "val_1.jpg 1", "train_1.jpg", "train_/../../x.jpg 1"]
)
def test_bad_rows_of_rafdb_are_told_by_line(tmp_path: Path, row: str) -> None:
    root = write_rafdb(tmp_path / "basic", EXPRESSIONS)
    listed = root / "EmoLabel" / "list_patition_label.txt"
    listed.write_text(listed.read_text() + row + "\n")
    with pytest.raises(DataError, match=r"data\.root.*1 lines of .*list_patition_label\.txt.*line 5: ") as caught:
        RAFDB(root=str(root)).load()
    assert row in str(caught.value)


def test_rafdb_without_its_files_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root.*holds no EmoLabel/list_patition_label\.txt"):
        RAFDB(root=str(tmp_path)).load()
    root = write_rafdb(tmp_path / "basic", EXPRESSIONS)
    (root / "Image" / "aligned" / "test_0001_aligned.jpg").unlink()
    with pytest.raises(DataError, match=r"test_0001_aligned\.jpg is not readable"):
        RAFDB(root=str(root)).load()
