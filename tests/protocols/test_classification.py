"""The yardstick and its intervals."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score

from facelab.data.faces import FaceSet
from facelab.protocols.base import Outputs
from facelab.protocols.classification import Classification
from facelab.protocols.intervals import classification_intervals
from tests.data.made import made_set
from tests.protocols.subject import evaluate


def named(label_names: str, images: int = 1000) -> FaceSet:
    """A face set of black pictures: protocols only ask it for names, and for pixels to show."""
    return made_set(np.arange(images) % len(label_names), list(label_names))


def test_all_correct_proves_no_more_than_the_exact_binomial() -> None:
    labels = np.repeat(np.arange(40), 5)
    low, high = classification_intervals(labels, labels, labels, 40)["accuracy"]
    assert high == 1
    assert low == pytest.approx(0.982, abs=5e-4)  # 200 of 200
    low, high = classification_intervals((labels + 1) % 40, labels, labels, 40)["f1"]
    assert low == 0
    assert high == pytest.approx(0.018, abs=5e-4)


@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1"])
def test_fewer_errors_never_prove_less(name: str) -> None:
    labels, lows = np.repeat(np.arange(40), 2), []
    for errors in range(6):
        predicted = labels.copy()
        predicted[: 2 * errors : 2] = 39
        lows.append(classification_intervals(predicted, labels, labels, 40)[name][0])
    assert lows == sorted(lows, reverse=True)


def test_near_one_the_interval_is_at_least_the_exact_binomial() -> None:
    labels = np.repeat(np.arange(40), 2)
    predicted = labels.copy()
    predicted[0] = 1
    low, _ = classification_intervals(predicted, labels, labels, 40)["accuracy"]
    # The definition: at the lower end, 79 or more of 80 come up with probability 0.025.
    assert 80 * low**79 * (1 - low) + low**80 == pytest.approx(0.025)


def test_an_interval_over_people_is_wider_than_one_over_pictures() -> None:
    labels = np.repeat(np.arange(40), 10)
    predicted = labels.copy()
    predicted[:80] = 39  # eight people are never recognised, the others always
    low, high = classification_intervals(predicted, labels, labels, 40)["accuracy"]
    naive = 2 * 1.96 * np.sqrt(0.8 * 0.2 / 400)
    over_people = 2 * 1.96 * np.sqrt(0.8 * 0.2 / 40)
    assert high - low == pytest.approx(over_people, rel=0.15)
    assert high - low > 2 * naive


@pytest.mark.parametrize("people_a_class", [1, 2])
def test_classes_of_the_training_alone_change_nothing(people_a_class: int) -> None:
    people = np.repeat(np.arange(40), 3)
    labels = people // people_a_class
    predicted = labels.copy()
    predicted[::7] = 50  # a class without test images
    without, among = (classification_intervals(predicted, labels, people, count) for count in (51, 1680))
    assert without == among
    low, high = among["recall"]
    assert low < 102 / 120 < high


def _held(
    random: np.random.Generator,
    identities: NDArray[np.int64],
    labels: NDArray[np.int64],
    skills: Callable[[int], NDArray[np.float64]],
    mean: float,
) -> int:
    """In how many of 60 tests the interval of accuracy holds the mean of people's skills."""
    held, classes = 0, len(np.unique(labels))
    for _ in range(60):
        skill = skills(len(np.unique(identities)))
        correct = random.random(len(labels)) < skill[identities]
        predicted = np.where(correct, labels, (labels + 1) % classes)
        low, high = classification_intervals(predicted, labels, identities, classes)["accuracy"]
        held += low <= mean <= high
    return held


@pytest.mark.parametrize("people_a_class", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_intervals_cover_what_they_estimate(people_a_class: int) -> None:
    """Drawn from a known accuracy, nine in ten intervals and more hold it."""
    random = np.random.default_rng(0)
    classes = 60 if people_a_class == 1 else 2
    identities = np.repeat(np.arange(classes * people_a_class), 4)
    labels = identities // people_a_class
    # People differ in how well they are recognised.
    assert _held(random, identities, labels, lambda people: random.beta(8, 2, size=people), mean=0.8) >= 52


def test_a_person_counts_once_over_all_classes() -> None:
    identities, labels = np.repeat(np.arange(20), 21), np.tile(np.repeat(np.arange(7), 3), 20)
    predicted = np.where(identities < 10, labels, (labels + 1) % 7)  # ten people are always right, ten never
    low, high = classification_intervals(predicted, labels, identities, 7)["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.5 * 0.5 / 20), rel=0.15)


@pytest.mark.slow
def test_intervals_cover_where_each_person_shows_every_class() -> None:
    random = np.random.default_rng(1)
    people, classes, images = 20, 7, 3
    identities = np.repeat(np.arange(people), classes * images)
    labels = np.tile(np.repeat(np.arange(classes), images), people)
    assert _held(random, identities, labels, lambda people: random.beta(1.2, 1.2, size=people), mean=0.5) >= 50


def test_the_mean_is_over_the_classes_of_a_resample() -> None:
    identities, labels = np.array([0, 0, 1, 2]), np.array([0, 1, 0, 0])  # only one of three people shows class 1
    found = classification_intervals(labels, labels, identities, 2)
    assert found["recall"] == found["accuracy"]  # 1 in every resample, also where class 1 is absent


def test_one_person_says_nothing_about_others() -> None:
    labels, person = np.repeat(np.arange(6), 10), np.zeros(60, np.int64)
    assert classification_intervals(labels, labels, person, 6) == {}
    outputs = Outputs(np.eye(6, dtype=np.float32)[labels], labels, labels, person, np.arange(60))
    report = evaluate(Classification(), outputs, outputs, named("abcdef"))
    assert report.intervals == {}
    assert report.notes


def _outputs(random: np.random.Generator, centres: NDArray[np.float64], head: bool) -> Outputs:
    labels = np.repeat(np.arange(len(centres)), 4)
    embeddings = (centres[labels] + 0.1 * random.normal(size=(len(labels), centres.shape[1]))).astype(np.float32)
    predicted = (-embeddings).argmax(axis=1) if head else None
    return Outputs(embeddings, predicted, labels, labels, np.arange(len(labels)))


def test_separable_embeddings_are_told_apart_by_probe_and_neighbours() -> None:
    random, centres = np.random.default_rng(0), np.eye(5)
    report = evaluate(
        Classification(),
        _outputs(random, centres, head=False),
        _outputs(random, centres, head=False),
        named("abcde"),
    )
    assert report.metrics["linear_probe/accuracy"] == report.metrics["knn/accuracy"] == 1
    assert report.metrics["test/f1"] == report.metrics["linear_probe/f1"]  # no head of its own: the probe stands in


def test_a_head_of_its_own_is_what_test_judges() -> None:
    random, centres = np.random.default_rng(0), np.eye(5)
    train, test = _outputs(random, centres, head=True), _outputs(random, centres, head=True)
    report = evaluate(Classification(), train, test, named("abcde"))
    assert test.predicted is not None
    assert report.metrics["test/accuracy"] == accuracy_score(test.labels, test.predicted) < 0.5
    assert report.metrics["linear_probe/accuracy"] == 1


def test_neighbours_are_found_by_cosine_not_by_length() -> None:
    train = Outputs(np.array([[1, 0], [0, 5]], np.float32), None, np.arange(2), np.arange(2), np.arange(2))
    test = Outputs(np.array([[9, 1], [0.1, 0.2]], np.float32), None, np.arange(2), np.arange(2), np.arange(2))
    assert evaluate(Classification(), train, test, named("ab")).metrics["knn/accuracy"] == 1
