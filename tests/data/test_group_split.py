"""Rules that keep people apart: nobody in two parts, the same folds as scikit-learn's, and what is refused."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import model_selection

from facelab.data.columns import Column
from facelab.data.faces import FaceSet
from facelab.data.splits.base import Split, Splits, prepare, split
from facelab.data.splits.given import Official
from facelab.data.splits.group_rules import GroupKFold, IdentityDisjoint, LeaveOneGroupOut
from facelab.data.splits.people import deal, draw_first, groups_per_class
from facelab.data.splits.rules import FewShot, KFold, Ratio
from facelab.errors import DataError
from tests.data.made import made_table

RULES: list[Split] = [
    Ratio(),
    Ratio(0.7, 0, 0.3, seed=3),
    KFold(folds=3, fold=2, seed=1),
    FewShot(train_per_identity=2, seed=1),
    GroupKFold(folds=4, fold=3, seed=2),
    LeaveOneGroupOut(2),
    IdentityDisjoint(3, val_people=2, seed=5),
]


def expressions(people: int = 15, classes: int = 6, each: int = 1) -> FaceSet:
    """Everybody shows every expression so many times."""
    person, expression = np.divmod(np.arange(people * classes * each), classes * each)
    return made_table("expression", identity=person, expression=expression % classes)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_nobody_is_in_two_parts(rule: Split, seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(100, 300))
    labels, people = random.integers(0, 3, count), random.integers(0, random.integers(12, 40), count)
    faces = made_table("expression", identity=people, expression=labels)
    if rule.disjoint_column(faces) is not None and len(np.unique(people)) < 12:
        return
    splits = split(faces, rule)
    parts = [set(faces.identities[indices]) for _, indices in splits.items()]
    assert not any(parts[one] & parts[other] for one, other in ((0, 1), (0, 2), (1, 2)))
    everything = np.concatenate([indices for _, indices in splits.items()])
    assert len(np.unique(everything)) == len(everything)
    assert len(splits.train)
    assert len(splits.test)
    again = split(faces, rule)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(splits.items(), again.items(), strict=True))


@given(st.integers(5, 40), st.integers(0, 2**31), st.integers(3, 5))
def test_folds_of_people_are_those_of_scikit_learn(people: int, seed: int, folds: int) -> None:
    groups = np.random.default_rng(seed).integers(0, people, 200)
    groups[:people] = np.arange(people)
    faces = made_table("identity", identity=groups)
    reference = model_selection.GroupKFold(folds, shuffle=True, random_state=seed)
    expected = [test for _, test in reference.split(faces.identities, groups=faces.identities)]
    for fold in range(folds):
        splits = split(faces, GroupKFold(folds, fold, seed))
        assert np.array_equal(splits.test, expected[fold])
        assert np.array_equal(splits.val, expected[(fold + 1) % folds])
        others = [expected[(fold + step) % folds] for step in range(2, folds)]
        assert np.array_equal(splits.train, np.sort(np.concatenate(others)))


def test_every_person_is_left_out_once() -> None:
    faces = expressions()
    reference = model_selection.LeaveOneGroupOut().split(faces.labels, groups=faces.identities)
    for group, (train, test) in enumerate(reference):
        splits = split(faces, LeaveOneGroupOut(group))
        assert np.array_equal(splits.train, train)
        assert np.array_equal(splits.test, test)
        assert len(splits.val) == 0
        assert splits.notes == (f"split.group={group}: tested on identity '{group}', of 15.",)
    with pytest.raises(DataError, match=r"split\.group=15: .*15 different .*0 to 14.*range\(15\)"):
        split(faces, LeaveOneGroupOut(15))


def test_people_for_validation_are_drawn_by_seed(orl: FaceSet) -> None:
    fixed = split(orl, IdentityDisjoint(20))
    assert np.array_equal(fixed.train, np.arange(200))
    assert np.array_equal(fixed.test, np.arange(200, 400))
    assert len(fixed.val) == 0
    ordered = split(orl, IdentityDisjoint(20, val_people=5))
    assert np.array_equal(ordered.train, np.arange(200))
    assert np.array_equal(ordered.val, np.arange(200, 250))
    drawn, other = (split(orl, IdentityDisjoint(20, 5, seed)) for seed in (0, 1))
    assert not np.array_equal(drawn.train, other.train)
    for splits in (drawn, other):
        assert [len(np.unique(orl.identities[indices])) for _, indices in splits.items()] == [20, 5, 15]
    assert IdentityDisjoint(20).title == "20 people"
    assert IdentityDisjoint(20, 5, 1).title == "20+5 people · split=1"
    with pytest.raises(DataError, match=r"val_people=19.*40 people.*at most 38"):
        split(orl, IdentityDisjoint(20, 19))


def test_shares_of_people_have_every_expression() -> None:
    faces = expressions(each=2)
    splits = split(faces, Ratio())
    for indices, people in ((splits.train, 9), (splits.val, 3), (splits.test, 3)):
        assert len(np.unique(faces.identities[indices])) == people
        assert np.array_equal(np.bincount(faces.labels[indices]), np.full(6, 2 * people))
    assert splits.notes == ()


def test_folds_test_every_image_once_whatever_the_numbers() -> None:
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(40), random.integers(1, 30, 40))
    women = made_table("gender", identity=people, gender=(people % 4 == 0).astype(int))
    folds = [split(women, KFold(fold=fold)) for fold in range(5)]
    assert np.array_equal(np.sort(np.concatenate([splits.test for splits in folds])), np.arange(len(women)))
    for fold, splits in enumerate(folds):
        assert np.array_equal(splits.val, folds[(fold + 1) % 5].test)
        tested = np.unique(women.identities[splits.test])
        assert len(tested) == 8
        assert np.sum(tested % 4 == 0) == 2  # stratified: a quarter of the people, as in the set


@given(st.integers(0, 2**31), st.integers(2, 6), st.integers(1, 60))
def test_equal_shares_deal_one_group_of_every_block_to_each_part(seed: int, parts: int, blocks: int) -> None:
    random = np.random.default_rng(seed)
    sizes = np.sort(random.integers(1, 9, parts * blocks))[::-1]
    groups = np.repeat(random.permutation(len(sizes)), sizes)
    part = deal(np.zeros(len(groups), np.int64), groups, [1 / parts] * parts, random)
    _, first = np.unique(groups, return_index=True)
    largest = first[np.argsort(-np.bincount(groups)[groups[first]], kind="stable")]
    images = np.bincount(part, minlength=parts)
    assert np.array_equal(np.bincount(part[largest], minlength=parts), np.full(parts, blocks))
    assert images.max() - images.min() <= sizes[0] - sizes[-1]  # blocks are of like size


def test_few_images_of_each_class_come_from_few_people() -> None:
    faces = expressions(people=10, classes=6, each=2)
    for k, people in ((1, 1), (2, 1), (3, 2), (5, 3)):
        rule = FewShot(train_per_identity=k, seed=4)
        left, splits = prepare(faces, rule)
        assert np.array_equal(np.bincount(left.labels[splits.train]), np.full(6, k))
        assert len(np.unique(left.identities[splits.train])) == people
        assert len(splits.test) == 12 * (10 - people)
        assert len(left) == len(splits.train) + len(splits.test)
        assert len(splits.notes) == (1 if 2 * people > k else 0)
    with pytest.raises(DataError, match=r"split.train_per_identity=19 needs all people"):
        split(faces, FewShot(train_per_identity=19))


def test_a_hand_made_draw() -> None:
    """Person 1 lacks class 1, so it is drawn for class 0 at most, and another person follows."""
    labels, groups = np.array([0, 1, 0, 0, 1]), np.array([0, 0, 1, 2, 2])
    for seed in range(10):
        drawn, rest = draw_first(labels, groups, 1, np.random.default_rng(seed))
        assert labels[drawn].tolist().count(0) == labels[drawn].tolist().count(1) == 1
        assert set(groups[rest]) == {0, 1, 2} - set(groups[drawn])
    assert groups_per_class(labels, groups, 3).tolist() == [3, 2, 0]


def test_sharing_people_is_chosen_or_refused(orl: FaceSet) -> None:
    faces = expressions()
    shared = split(faces, Ratio(share_identities=True))
    assert np.array_equal(np.bincount(faces.labels[shared.train]), np.full(6, 9))
    assert np.intersect1d(faces.identities[shared.train], faces.identities[shared.test]).size
    with pytest.raises(DataError, match=r"share_identities=false.*split=identity_disjoint"):
        split(orl, Ratio(share_identities=False))
    unknown = made_table("expression", expression=faces.labels)
    assert len(split(unknown, Ratio()).train) == 54  # every image its own person: by image
    with pytest.raises(DataError, match=r"share_identities=false must know who.*no column 'identity'.*data\.group"):
        split(unknown, Ratio(share_identities=False))


@pytest.mark.parametrize("few", ["error", "drop", "train"])
def test_classes_that_few_people_have(few: str) -> None:
    faces = expressions(people=10, classes=3)
    labels = np.append(faces.labels, [3, 3, 3, 3])
    faces = made_table("expression", identity=np.append(faces.identities, [0, 0, 1, 2]), expression=labels)
    rule = KFold(folds=5, few=few)  # type: ignore[arg-type]
    if few == "error":
        with pytest.raises(DataError, match=r"1 of 4 classes have too few people.*1 has 3.*share_identities=true"):
            split(faces, rule)
        return
    left, splits = prepare(faces, rule)
    assert "too few people" in splits.notes[0]
    rare = np.flatnonzero(left.columns["expression"].texts == "3")
    in_training = np.isin(left.identities[rare], left.identities[splits.train])
    assert len(rare) == 0 if few == "drop" else in_training.all() and np.isin(rare, splits.train).all()


@pytest.mark.parametrize("rule", [GroupKFold(), LeaveOneGroupOut(), IdentityDisjoint()])
def test_people_must_be_known(rule: Split) -> None:
    labels = np.arange(60) % 3
    with pytest.raises(DataError, match=r"must know who is in each image.*no column 'identity'.*expression"):
        split(made_table("expression", expression=labels), rule)
    some = np.where(np.arange(60) < 3, -1, np.arange(60) // 2)
    with pytest.raises(DataError, match=r"3 of 60 images .* no value in the column 'identity': 0, 1, 2\."):
        split(made_table("expression", expression=labels, identity=some), rule)


class _Careless(GroupKFold):
    def divide(self, faces: FaceSet) -> Splits:
        """Put one person into two splits."""
        splits = super().divide(faces)
        return dataclasses.replace(splits, train=splits.train[1:], test=np.append(splits.test, splits.train[0]))


def test_a_rule_that_breaks_its_word_stops_the_run() -> None:
    faces = expressions()
    person = faces.columns["identity"].names[faces.identities[GroupKFold().divide(faces).train[0]]]
    with pytest.raises(DataError, match=rf"_Careless .*'identity' .*1 are in several, such as '{person}' in train and"):
        split(faces, _Careless())


def test_another_column_can_be_the_group() -> None:
    faces = made_table("identity", identity=np.arange(60) % 3, date=np.arange(60) // 10)
    faces = dataclasses.replace(faces, group="date")
    splits = split(faces, GroupKFold(folds=3))
    assert [len(np.unique(faces.groups[indices])) for _, indices in splits.items()] == [2, 2, 2]
    assert len(np.unique(faces.groups[split(faces, LeaveOneGroupOut(5)).test])) == 1
    assert {len(indices) for _, indices in split(faces, Ratio()).items()} == {40, 10}


def test_images_of_no_part_are_counted_and_left_out(orl: FaceSet) -> None:
    parts = np.array(["train", "test", "", "train", "test"] * 80, dtype=object)
    faces = dataclasses.replace(orl, columns={**orl.columns, "part": Column.of(parts.tolist())})
    left, splits = prepare(faces, Official())
    assert splits.notes == ("80 of 400 images belong to no split and are left out.",)
    assert len(left) == 320
