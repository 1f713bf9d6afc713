"""Error rates by group, and the gaps between them."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits
from facelab.errors import FacelabError
from facelab.metrics.verification import eer, roc
from facelab.protocols import Attributes, Outputs, Subject
from facelab.protocols.groups import Trials, rates_by_group
from facelab.protocols.intervals import times_drawn
from tests.data.made import made_table
from tests.models.tiny import tiny_cnn

NONE = np.empty(0, np.int64)


def _subject(people: int, images: int, val: bool = False) -> Subject:
    """Unseen people of three groups, the last of one person, one image of no group; the second group is harder."""
    random = np.random.default_rng(0)
    identities = np.repeat(np.arange(2 + people * (1 + val)), images)
    group = np.where(identities == identities.max(), 2, identities % 2)
    group[-images - 1] = -1
    noise = np.where(group == 1, 1.8, 1.1)[:, None]
    centres = random.standard_normal((int(identities.max()) + 1, 16))
    embeddings = (centres[identities] + noise * random.standard_normal((len(identities), 16))).astype(np.float32)
    ends = [0, 2 * images, (2 + people * val) * images, len(identities)]
    train, held, test = (
        Outputs(embeddings[a:b], None, identities[a:b], identities[a:b], np.arange(a, b))
        for a, b in itertools.pairwise(ends)
    )
    faces = made_table("identity", identity=identities, group=group)
    splits = Splits(train.indices, held.indices, test.indices)
    return Subject(faces, splits, train, test, tiny_cnn(), 0, held if val else None)


def _pairs(outputs: Outputs) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    first, second = np.triu_indices(len(outputs.identities), k=1)
    unit = outputs.embeddings / np.linalg.norm(outputs.embeddings, axis=1, keepdims=True)
    return first, second, np.einsum("nd,nd->n", unit[first], unit[second]).astype(np.float64)


@pytest.mark.parametrize("val", [False, True])
def test_unseen_people_are_compared_within_their_group_at_one_threshold(val: bool) -> None:
    subject = _subject(people=40, images=4, val=val)
    Attributes("group").check(subject.splits, subject.faces)
    report = Attributes("group").evaluate(subject)
    source = subject.test if subject.val is None else subject.val
    first, second, scores = _pairs(source)
    same = source.identities[first] == source.identities[second]
    curve = roc(torch.from_numpy(scores[same]), torch.from_numpy(scores[~same]))
    # FMR and FNMR cross here; at this number of pairs they are nearly equal.
    threshold = float(curve.threshold[int((curve.far + curve.tar >= 1).nonzero()[0])])
    first, second, scores = _pairs(subject.test)
    same = subject.test.identities[first] == subject.test.identities[second]
    group = subject.faces.columns["group"].texts[subject.test.indices]
    rates = {}
    for name in ("0", "1"):
        within = (group[first] == name) & (group[second] == name)
        rates[name] = np.mean(scores[within & ~same] >= threshold), np.mean(scores[within & same] < threshold)
    found = {(row[0], row[1]): row for row in report.files["attributes"][1:]}
    for name, (fmr, fnmr) in rates.items():
        assert found[name, "fmr"][2] == pytest.approx(fmr)
        assert found[name, "fnmr"][2] == pytest.approx(fnmr)
    assert report.metrics["attributes/fmr_gap"] == pytest.approx(abs(rates["0"][0] - rates["1"][0]))
    assert report.metrics["attributes/fnmr_gap"] == pytest.approx(abs(rates["0"][1] - rates["1"][1]))
    for name, (low, high) in report.intervals.items():
        assert low <= report.metrics[name] <= high
    assert found["2", "fnmr"][-1] is False  # one person: measured, and left out of the gap
    assert ("of validation people" in report.notes[0]) == val
    assert "1 groups are too small" in report.notes[1]
    assert "2: 1 people, 4 images" in report.notes[1]
    assert f"1 of {len(subject.test.labels)} test images have no value of group" in report.notes[2]
    if not val:
        assert eer(curve) == pytest.approx(np.mean(scores[same] < threshold), abs=0.01)


def test_people_seen_in_training_are_classified() -> None:
    identities = np.tile(np.arange(30), 4)
    group = identities % 2
    faces = made_table("identity", identity=identities, group=group)
    test = np.arange(60, 120)
    predicted = identities[60:].copy()
    predicted[[0, 2, 1]] += 1  # two errors in the group 0, one in the group 1
    train, tested = (
        Outputs(np.zeros((60, 2), np.float32), guess, identities[of], identities[of], of)
        for guess, of in ((None, np.arange(60)), (predicted, test))
    )
    subject = Subject(faces, Splits(np.arange(60), NONE, test), train, tested, tiny_cnn(), 0)
    Attributes("group").check(subject.splits, faces)
    report = Attributes("group").evaluate(subject)
    assert report.metrics["attributes/error_gap"] == pytest.approx(1 / 30)
    assert report.metrics["attributes/error_worst"] == pytest.approx(2 / 30)
    assert report.intervals["attributes/error_gap"][0] == 0
    assert "attributes/fmr_gap" not in report.metrics


def test_people_seen_in_training_are_classified_by_the_linear_probe_without_a_head() -> None:
    identities = np.tile(np.arange(30), 4)
    embeddings = np.eye(30, dtype=np.float32)[identities]
    embeddings[60] = embeddings[61]  # an error in the group 0
    faces = made_table("identity", identity=identities, group=identities % 2)
    train, test = (
        Outputs(embeddings[of], None, identities[of], identities[of], of) for of in (np.arange(60), np.arange(60, 120))
    )
    splits = Splits(train.indices, NONE, test.indices)
    assert Attributes("group").needs_training_images(splits, faces)
    assert not Attributes("group").needs_training_images(Splits(NONE, NONE, test.indices), faces)
    report = Attributes("group").evaluate(Subject(faces, splits, train, test, tiny_cnn(), 0))
    assert report.metrics["attributes/error_worst"] == pytest.approx(1 / 30)


def test_rates_are_those_of_a_bootstrap_over_trials() -> None:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 20, (2, 600))
    group, error = random.integers(0, 2, 600), random.random(600) < 0.3
    found = rates_by_group(Trials(group, error, first, second), 20, [0, 1], np.array([300, 300]))
    resampled = []
    for times in times_drawn(20, resamples=500):
        weight = [times[i] if i == j else times[i] * times[j] for i, j in zip(first, second, strict=True)]
        repeated = np.repeat(np.arange(600), weight)
        resampled.append([error[repeated][group[repeated] == g].mean() for g in (0, 1)])
    ends = np.quantile(resampled, [0.025, 0.975], axis=0)
    for g in (0, 1):
        rate = found.rates[g]
        assert rate is not None
        assert rate.value == error[group == g].mean()
        assert rate.interval == pytest.approx(tuple(ends[:, g]))


@pytest.mark.parametrize("rates", [(0.2,) * 8, (0.1, 0.3, 0.2, 0.2), (0.0,) * 4])
def test_intervals_cover_the_gap(rates: tuple[float, ...]) -> None:
    """Nine in ten intervals and more hold the true gap, also where there is none, or no error."""
    random = np.random.default_rng(0)
    person = np.repeat(np.arange(160), 5)
    group = person % len(rates)
    held = 0
    for _ in range(40):
        skill = np.array(rates)[np.arange(160) % len(rates)] * random.uniform(0, 2, 160)  # people differ
        error = random.random(800) < skill[person]
        trials = Trials(group, error, person, person)
        low, high = rates_by_group(trials, 160, range(len(rates)), np.bincount(group)).gap.interval
        held += low <= max(rates) - min(rates) <= high
    assert held >= 36


def _splits(people: str, images: int = 4) -> tuple[Splits, FaceSet]:
    """A training person `x` and test people of the groups in the text."""
    identities = np.repeat(np.arange(len(people) + 1), images)
    group = np.array([0, *(ord(letter) - ord("a") for letter in people)])[identities]
    faces = made_table("identity", identity=identities, group=group)
    return Splits(np.arange(images), NONE, np.arange(images, len(identities))), faces


@pytest.mark.parametrize(
    ("column", "people", "words"),
    [
        ("grup", "a" * 10 + "b" * 10, "column=grup: made up has no such column. Columns: group, identity.*group"),
        ("group", "a" * 10 + "b" * 9, "at least 10 test people and 30 genuine and .*; there are 1. .*1: 9 people, 36"),
        ("identity", "a" * 10 + "b" * 10, "there are 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(column: str, people: str, words: str) -> None:
    with pytest.raises(FacelabError, match=words):
        Attributes(column).check(*_splits(people))


def test_people_partly_seen_in_training_are_refused() -> None:
    splits, faces = _splits("a" * 10 + "b" * 10)
    with pytest.raises(FacelabError, match=r"protocol=attributes expects test people unseen .* 1 of 21 are in one"):
        Attributes("group").check(Splits(splits.train[:2], NONE, np.append(splits.train[2:], splits.test)), faces)


def test_the_table_counts_the_pairs_that_were_drawn() -> None:
    subject = _subject(people=400, images=3)
    rows = Attributes("group").evaluate(subject).files["attributes"]
    trials = {(row[0], row[1]): row[7] for row in rows[1:]}
    # Group 0 has 199 people with three images and one with two: 178,503 impostor pairs, of which a third of 400,000 are
    # drawn, and 199 * 3 + 1 genuine pairs.
    assert trials["0", "fmr"] == 400_000 // 3
    assert trials["0", "fnmr"] == 598
