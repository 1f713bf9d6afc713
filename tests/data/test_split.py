"""No picture in two parts, and the fixed protocol as it is published."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import model_selection

from facelab.data.columns import Column
from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits, split
from facelab.data.splits.group_rules import IdentityDisjoint
from facelab.data.splits.people import largest_remainder
from facelab.data.splits.rules import FewShot, KFold, Ratio, RotatedFewShot
from facelab.errors import DataError
from tests.data.made import made_set


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 9])
def test_few_shot_is_the_fixed_protocol(orl: FaceSet, k: int, seed: int) -> None:
    splits = split(orl, FewShot(train_per_identity=k, seed=seed))
    random = np.random.RandomState(seed)
    train = [10 * person + number for person in range(40) for number in random.permutation(10)[:k]]
    assert sorted(train) == list(splits.train)
    assert sorted(set(range(400)) - set(train)) == list(splits.test)
    assert len(splits.val) == 0


def test_rotated_splits_train_equally_often_on_every_image(orl: FaceSet) -> None:
    for k in (1, 2):
        splits = [split(orl, RotatedFewShot(train_per_identity=k, seed=seed)) for seed in range(20)]
        for cycle in (splits[:10], splits[10:]):
            times = np.bincount(np.concatenate([one.train for one in cycle]), minlength=400)
            assert np.array_equal(times, np.full(400, k))
        assert len({tuple(one.train) for one in splits}) == 20
        assert all(len(np.unique(np.concatenate([one.train, one.test]))) == 400 for one in splits)
    first = split(orl, FewShot(train_per_identity=3, seed=0))
    assert np.array_equal(split(orl, RotatedFewShot(train_per_identity=3, seed=0)).train, first.train)


def test_ratio_takes_six_two_two_of_every_person(orl: FaceSet) -> None:
    splits = split(orl, Ratio())
    for indices, count in ((splits.train, 6), (splits.val, 2), (splits.test, 2)):
        assert np.array_equal(np.bincount(orl.labels[indices]), np.full(40, count))
    assert len(np.unique(np.concatenate([splits.train, splits.val, splits.test]))) == 400
    assert not np.array_equal(splits.test, split(orl, Ratio(seed=1)).test)


def test_folds_cover_every_picture_once_as_test_and_once_as_validation(orl: FaceSet) -> None:
    folds = [split(orl, KFold(folds=5, fold=fold)) for fold in range(5)]
    for splits in folds:
        assert np.array_equal(np.sort(np.concatenate([splits.train, splits.val, splits.test])), np.arange(400))
        for indices, count in ((splits.train, 6), (splits.val, 2), (splits.test, 2)):
            assert np.array_equal(np.bincount(orl.labels[indices]), np.full(40, count))
    assert np.array_equal(np.sort(np.concatenate([splits.test for splits in folds])), np.arange(400))
    for fold, splits in enumerate(folds):
        assert np.array_equal(splits.val, folds[(fold + 1) % 5].test)
        without = split(orl, KFold(folds=5, fold=fold, validation=False))
        assert np.array_equal(without.test, splits.test)
        assert np.array_equal(without.train, np.sort(np.concatenate([splits.train, splits.val])))


@pytest.mark.parametrize("count", [3, 4, 7, 10])
@pytest.mark.parametrize("folds", [3, 4, 7])
def test_parts_of_a_class_are_as_large_as_scikit_learns(orl: FaceSet, count: int, folds: int) -> None:
    faces = _few(orl, count)
    if count < folds:
        with pytest.raises(DataError, match=f"40 of 40 classes .*split.folds={folds}.*40 have {count}"):
            split(faces, KFold(folds=folds))
        return
    expected = [len(test) for _, test in model_selection.KFold(folds).split(np.zeros((count, 1)))]
    for fold in range(folds):
        splits = split(faces, KFold(folds=folds, fold=fold))
        assert np.array_equal(np.bincount(faces.labels[splits.test]), np.full(40, expected[fold]))
        assert np.array_equal(np.bincount(faces.labels[splits.val]), np.full(40, expected[(fold + 1) % folds]))
        assert len(splits.train) + len(splits.val) + len(splits.test) == 40 * count


def test_the_seed_alone_shuffles_folds(orl: FaceSet) -> None:
    assert np.array_equal(split(orl, KFold(fold=2)).test, split(orl, KFold(fold=2)).test)
    assert not np.array_equal(split(orl, KFold(fold=2)).test, split(orl, KFold(fold=2, seed=1)).test)
    assert KFold(fold=2, seed=3).title == "fold=2/5 · split=3"


@pytest.mark.parametrize(("folds", "fold"), [(2, 0), (5, 5), (5, -1)])
def test_folds_that_are_none_are_refused(folds: int, fold: int) -> None:
    with pytest.raises(ValueError, match="fold"):
        KFold(folds=folds, fold=fold)


def test_splits_say_whether_they_have_validation(orl: FaceSet) -> None:
    for rule in (Ratio(), Ratio(0.8, 0, 0.2), KFold(), FewShot(), IdentityDisjoint()):
        assert rule.has_validation == (len(split(orl, rule).val) > 0)


def test_copies_in_two_parts_are_refused(orl: FaceSet) -> None:
    splits = Ratio().divide(orl)
    digests = list(orl.digests)
    digests[splits.test[0]] = digests[splits.train[0]]
    with pytest.raises(DataError) as caught:
        split(dataclasses.replace(orl, digests=digests), Ratio())
    assert orl.names[splits.train[0]] in str(caught.value)
    assert orl.names[splits.test[0]] in str(caught.value)


def test_copies_in_one_part_are_taken(orl: FaceSet) -> None:
    splits = Ratio().divide(orl)
    digests = list(orl.digests)
    digests[splits.train[1]] = digests[splits.train[0]]
    taken = split(dataclasses.replace(orl, digests=digests), Ratio())
    assert np.array_equal(taken.train, splits.train)


@given(st.integers(0, 500), st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_counts_add_up_and_are_near_the_shares(total: int, weights: list[float]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    counts = largest_remainder(total, shares)
    assert sum(counts) == total
    assert all(abs(count - total * share) < 1 + 1e-6 for count, share in zip(counts, shares, strict=True))


def test_copies_of_a_real_file_are_found(tmp_path: Path) -> None:
    from facelab.data.sources.folder import Folder
    from tests.data.made import make_folder

    root = make_folder(tmp_path / "faces", pictures=6)
    for number in range(1, 6):
        (root / "person0" / f"{number}.png").write_bytes((root / "person0" / "0.png").read_bytes())
    with pytest.raises(DataError, match=r"split\.duplicates=drop"):
        split(Folder(str(root)).load(), Ratio())


def _few(faces: FaceSet, count: int) -> FaceSet:
    """The first pictures of every class."""
    kept = np.concatenate([np.flatnonzero(faces.labels == label)[:count] for label in range(len(faces.label_names))])
    return dataclasses.replace(
        faces,
        pixels=np.zeros((len(kept), 8, 8, 1), dtype=np.uint8),
        names=[faces.names[i] for i in kept],
        columns={name: Column(column.codes[kept], column.names) for name, column in faces.columns.items()},
        digests=[faces.digests[i] for i in kept],
    )


def test_the_fingerprint_of_a_split_is_of_its_parts_alone() -> None:
    faces = made_set(np.array([0, 0, 1, 1, 1]), ["ada", "bob"])  # its images are named 0, 1, ...
    splits = Splits(train=np.array([3, 0]), val=np.array([], np.int64), test=np.array([2]))
    expected = hashlib.sha256(b"0\ttrain\n2\ttest\n3\ttrain").hexdigest()
    assert splits.fingerprint(faces) == expected
    kept = faces.only(np.array([0, 2, 3]))  # as `prepare` leaves unused images out
    assert Splits(np.array([0, 2]), splits.val, np.array([1])).fingerprint(kept) == expected
    assert Splits(np.array([0, 1]), splits.val, np.array([2])).fingerprint(kept) != expected
