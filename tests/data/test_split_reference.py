"""Parts stay what they were for every seed: the rules, written as plainly as can be, and many random label sets."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.splits.base import Split, split
from facelab.data.splits.people import largest_remainder
from facelab.data.splits.rules import FewShot, KFold, Ratio
from tests.data.made import made_set

Parts = tuple[Indices, Indices, Indices]


def _members(faces: FaceSet) -> Iterator[Indices]:
    for label in range(len(faces.label_names)):
        yield np.flatnonzero(faces.labels == label)


def _ratio(faces: FaceSet, rule: Ratio) -> Parts:
    random = np.random.default_rng(rule.seed)
    parts: dict[str, list[Indices]] = {"train": [], "val": [], "test": []}
    for members in _members(faces):
        shuffled, start = random.permutation(members), 0
        for part, count in zip(rule.shares, largest_remainder(len(members), list(rule.shares.values())), strict=True):
            parts[part].append(shuffled[start : start + count])
            start += count
    train, val, test = (np.sort(np.concatenate(chunks)) for chunks in parts.values())
    return train, val, test


def _kfold(faces: FaceSet, rule: KFold) -> Parts:
    random = np.random.default_rng(rule.seed)
    train, val, test = [], [], []
    for members in _members(faces):
        splits = np.array_split(random.permutation(members), rule.folds)
        test.append(splits[rule.fold])
        val.append(splits[(rule.fold + 1) % rule.folds])
        train += [splits[(rule.fold + step) % rule.folds] for step in range(2, rule.folds)]
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(val)), np.sort(np.concatenate(test))


def _few_shot(faces: FaceSet, rule: FewShot) -> Parts:
    random = np.random.RandomState(rule.seed)
    train, test = [], []
    for members in _members(faces):
        order = members[random.permutation(len(members))]
        train.append(order[: rule.train_per_identity])
        test.append(order[rule.train_per_identity :])
    return np.sort(np.concatenate(train)), np.empty(0, np.int64), np.sort(np.concatenate(test))


def _reference(faces: FaceSet, rule: Split) -> Parts:
    if isinstance(rule, Ratio):
        return _ratio(faces, rule)
    if isinstance(rule, KFold):
        return _kfold(faces, rule)
    assert isinstance(rule, FewShot)
    return _few_shot(faces, rule)


RULES = [
    *(Ratio(seed=seed) for seed in range(3)),
    Ratio(0.8, 0, 0.2, seed=4),
    Ratio(0.34, 0.33, 0.33, seed=5),
    *(KFold(folds=folds, fold=fold, seed=folds + fold) for folds in (3, 5) for fold in range(3)),
    *(FewShot(train_per_identity=k, seed=seed) for k in (1, 5) for seed in (0, 9)),
]


def random_set(counts: list[int], seed: int) -> FaceSet:
    """A set of so many pictures of each class, in any order, without pixels."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    return made_set(labels, [f"p{i}" for i in range(len(counts))])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{type(rule).__name__} {rule.title}")
def test_the_same_parts_as_the_plain_rules(orl: FaceSet, rule: Split) -> None:
    draw = np.random.default_rng(0)
    sets = [orl, *(random_set(draw.integers(6, 40, draw.integers(2, 30)).tolist(), seed) for seed in range(4))]
    for faces in sets:
        splits = split(faces, rule)
        for found, expected in zip((splits.train, splits.val, splits.test), _reference(faces, rule), strict=True):
            assert found.dtype == np.int64
            assert np.array_equal(found, expected)
        assert splits.notes == ()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{type(rule).__name__} {rule.title}")
def test_people_who_are_left_out_do_not_change_the_others_parts(rule: Split) -> None:
    """As if their folders were not there."""
    counts = [1, 9, 7, 1, 12, 6, 1]
    faces = random_set(counts, 3)
    enough = np.flatnonzero(faces.labels % 3 != 0)
    without = faces.only(enough)
    reference = _reference(without, rule)
    for few in ("drop", "train"):
        rule.few = few  # type: ignore[attr-defined]
        splits = split(faces, rule)
        rule.few = "error"  # type: ignore[attr-defined]
        for found, expected in zip((splits.val, splits.test), reference[1:], strict=True):
            assert np.array_equal(found, enough[expected])
        extra = np.flatnonzero(faces.labels % 3 == 0) if few == "train" else np.empty(0, np.int64)
        assert np.array_equal(splits.train, np.sort(np.concatenate([enough[reference[0]], extra])))


def test_fifty_thousand_classes_need_no_search_for_each(orl: FaceSet) -> None:
    """250,000 pictures: a loop of `labels == label` would read them 50,000 times."""
    faces = random_set([5] * 50_000, 0)
    splits = split(dataclasses.replace(faces, pixels=orl.pixels), Ratio())
    assert [len(indices) for _, indices in splits.items()] == [150_000, 50_000, 50_000]
