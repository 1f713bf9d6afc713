"""Lists of pairs: which images they name, and the folds of a split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facelab.data.columns import Column
from facelab.data.faces import FaceSet
from facelab.data.pair_list import own_pairs, read_pair_list
from facelab.data.sources.bin import Bin
from facelab.data.sources.folder import Folder
from facelab.data.sources.lfw import LFW
from facelab.data.splits.base import prepare
from facelab.data.splits.given import Official
from facelab.data.splits.pair_folds import PairFolds
from facelab.errors import DataError
from tests.data.made import make_images
from tests.data.made_formats import make_packed, write_pair_folds

TEN = "3\t1\nAda\t1\t2\nAda\t1\tBo\t1\nCy\t1\t2\nCy\t1\tDi\t2\nEd\t1\t2\nEd\t2\tFa\t1\n"


def _lfw(root: Path) -> FaceSet:
    people = ("Ada", "Bo", "Cy", "Di", "Ed", "Fa")
    return LFW(str(make_images(root / "lfw", [f"{name}/{name}_000{i}.jpg" for name in people for i in (1, 2)]))).load()


def _write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_lists_of_lfw_name_images(tmp_path: Path) -> None:
    faces = _lfw(tmp_path)
    found = read_pair_list(_write(tmp_path / "pairs.txt", TEN), faces, "x")
    named = [(faces.names[i], faces.names[j]) for i, j in zip(found.first, found.second, strict=True)]
    assert named[0] == ("Ada/Ada_0001.jpg", "Ada/Ada_0002.jpg")
    assert named[5] == ("Ed/Ed_0002.jpg", "Fa/Fa_0001.jpg")
    assert found.genuine.tolist() == [True, False] * 3
    assert found.fold.tolist() == [0, 0, 1, 1, 2, 2]


def test_tables_name_images_with_and_without_suffix(tmp_path: Path) -> None:
    faces = _lfw(tmp_path)
    text = "second;genuine;first\nAda/Ada_0002.jpg;TRUE;Ada/Ada_0001\nBo/Bo_0001;0;Cy/Cy_0002.jpg\n"
    found = read_pair_list(_write(tmp_path / "pairs.csv", text), faces, "x")
    assert [faces.names[i] for i in found.first] == ["Ada/Ada_0001.jpg", "Cy/Cy_0002.jpg"]
    assert found.genuine.tolist() == [True, False]
    assert found.fold.tolist() == [0, 0]


def test_names_without_suffix_that_several_images_share_are_refused(tmp_path: Path) -> None:
    root = make_images(tmp_path / "faces", ["Ada/1.jpg", "Ada/1.png", "Ada/2.jpg", "Bo/1.jpg"])
    faces = Folder(str(root)).load()
    clear = _write(tmp_path / "clear.csv", "first,second,genuine\nAda/1.png,Ada/2,yes\n")
    assert faces.names[read_pair_list(clear, faces, "x").first[0]] == "Ada/1.png"
    with pytest.raises(DataError, match=r"names 1 images .* does not have: Ada/1"):
        read_pair_list(_write(tmp_path / "pairs.csv", "first,second,genuine\nAda/1,Bo/1,no\n"), faces, "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("first,second,genuine\nAda/Ada_0001,Eve/1,no\nEve/2,Eve/3,yes\n", "names 3 images .*Eve/1, Eve/2, Eve/3"),
        ("first,second\na,b\n", "no column genuine.*its columns: first, second"),
        ("first,second,genuine\nAda/Ada_0001,,no\n", "row 2.*second ''"),
        ("first,second,genuine\nAda/Ada_0001,Bo/Bo_0001,maybe\n", "genuine 'maybe'.*yes or no"),
        ("first,second,genuine,fold\nAda/Ada_0001,Bo/Bo_0001,no,x\n", "fold 'x'"),
    ],
)
def test_tables_that_name_no_pairs_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=f"x: .*pairs.csv.*{words}"):
        read_pair_list(_write(tmp_path / "pairs.csv", text), _lfw(tmp_path), "x")


def test_pairs_of_images_that_a_split_left_out_are_passed_over(tmp_path: Path) -> None:
    faces = _lfw(tmp_path)
    found = read_pair_list(_write(tmp_path / "pairs.txt", TEN), faces.only(np.arange(2, 12)), "x")
    assert found.fold.tolist() == [1, 1, 2, 2]


def test_sets_of_pairs_bring_their_own(tmp_path: Path) -> None:
    make_packed("bin", tmp_path)
    faces = Bin(path=str(tmp_path / "faces.bin"), image_size=16).load()
    found = own_pairs(faces)
    assert found.first.tolist() == list(range(0, len(faces), 2))
    assert found.second.tolist() == list(range(1, len(faces), 2))
    assert found.genuine.tolist() == [text == "yes" for text in faces.columns["genuine"].texts[::2]]
    assert len(own_pairs(faces.only(np.arange(1, len(faces))))) == len(found) - 1


def test_a_pair_has_two_images_and_an_image_without_one_is_in_none(orl: FaceSet) -> None:
    four = orl.only(np.array([0, 1, 10, 11]))
    genuine = Column.of(["yes"] * 4)

    def of(*pairs: str) -> FaceSet:
        return replace(four, columns={**four.columns, "pair": Column.of(pairs), "genuine": genuine})

    assert own_pairs(of("", "7", "", "7")).first.tolist() == [1]
    with pytest.raises(DataError, match=r"1 values of the column 'pair' have more than two images, such as '7' with 3"):
        own_pairs(of("7", "7", "1", "7"))


def test_each_fold_is_tested_by_a_model_of_other_people(tmp_path: Path, orl: FaceSet) -> None:
    path = str(write_pair_folds(tmp_path / "pairs.csv", people=8))
    tested = []
    for fold in range(4):
        faces, splits = prepare(orl, PairFolds(path, fold))
        of_part = {part: {faces.names[i].split("/")[0] for i in indices} for part, indices in splits.items()}
        assert of_part["test"] == {f"s{2 * fold + 1}", f"s{2 * fold + 2}"}
        assert of_part["val"] == {f"s{(2 * fold + 2) % 8 + 1}", f"s{(2 * fold + 3) % 8 + 1}"}
        assert len(of_part["train"]) == 4
        assert len(splits.test) == 5  # only images that are in a pair
        tested += [faces.names[i] for i in splits.test]
    assert len(set(tested)) == 20


def test_folds_that_share_people_are_refused(tmp_path: Path, orl: FaceSet) -> None:
    rows = "first,second,genuine,fold\ns1/1,s1/2,yes,0\ns2/1,s3/2,no,1\ns1/3,s4/1,no,2\n"
    with pytest.raises(DataError, match=r"1 people of fold 0 are in other folds too, such as 's1'"):
        PairFolds(_write(tmp_path / "pairs.csv", rows)).divide(orl)
    two = "first,second,genuine,fold\ns1/1,s1/2,yes,0\ns2/1,s3/2,no,1\n"
    with pytest.raises(DataError, match="has 2 folds; expected at least three"):
        PairFolds(_write(tmp_path / "two.csv", two)).divide(orl)
    rows = "first,second,genuine,fold\ns1/1,s1/2,yes,0\ns2/1,s3/2,no,1\ns2/3,s4/1,no,2\n"
    with pytest.raises(DataError, match=r"1 people of fold 1 are in other folds too, such as 's2'"):
        PairFolds(_write(tmp_path / "pairs.csv", rows)).divide(orl)
    path = str(write_pair_folds(tmp_path / "four.csv", people=8))
    with pytest.raises(DataError, match=r"split.fold=4: .* has 4 folds; expected 0 to 3"):
        PairFolds(path, 4).divide(orl)


@pytest.mark.parametrize(("folds", "empty"), [((1, 2, 3), 0), ((0, 1, 3), 2), ((0, 2, 9999), 1)])
def test_a_fold_without_pairs_is_told(tmp_path: Path, orl: FaceSet, folds: tuple[int, ...], empty: int) -> None:
    lines = [f"s{place}/1,s{place}/2,yes,{fold}" for place, fold in enumerate(folds, 1)]
    path = _write(tmp_path / "pairs.csv", "\n".join(["first,second,genuine,fold", *lines]))
    with pytest.raises(DataError, match=f"fold {empty} has no pairs.*Folds count from 0"):
        PairFolds(path).divide(orl)


def test_images_in_none_of_the_pairs_are_counted(tmp_path: Path, orl: FaceSet) -> None:
    rows = "first,second,genuine,fold\ns1/1,s1/2,yes,0\ns2/1,s3/2,no,1\ns4/3,s4/1,no,2\n"
    (note,) = PairFolds(_write(tmp_path / "pairs.csv", rows)).divide(orl).notes
    assert "394 of 400 images are in none of its pairs" in note


def test_a_share_of_the_training_people_can_validate(tmp_path: Path) -> None:
    _lfw(tmp_path)
    train = _write(tmp_path / "train.txt", "2\nAda\t1\t2\nCy\t1\t2\nBo\t1\tDi\t2\nAda\t1\tDi\t1\n")
    test = _write(tmp_path / "test.txt", "1\nEd\t1\t2\nEd\t1\tFa\t1\n")
    faces = LFW(str(tmp_path / "lfw"), train_list=train, test_list=test).load()
    drawn = [Official(val=0.25, seed=seed).divide(faces) for seed in range(8)]
    for splits in drawn:
        assert len(splits.val) == 2
        assert len(np.unique(faces.identities[splits.val])) == 1
        assert len(splits.train) == 6
    assert len({tuple(splits.val) for splits in drawn}) > 1
    with pytest.raises(DataError, match=r"split.val=0.9: 4 of 4 training people"):
        Official(val=0.9).divide(faces)
