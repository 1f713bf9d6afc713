"""Linear probes and neighbours, against scikit-learn's own."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize

from facelab.protocols.backends import Backend
from facelab.protocols.probe import discriminant, linear_probe, nearest_labels, training_scores

Sets = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]


def _sets(classes: int, images: int, noise: float = 1.0, dim: int = 12) -> Sets:
    random = np.random.default_rng(0)
    centres, mixing = random.standard_normal((classes, dim)), np.eye(dim) + 0.2 * random.standard_normal((dim, dim))
    labels = np.repeat(np.arange(classes), images) * 3 + 1  # labels need not be 0 to C - 1

    def draw() -> NDArray[np.float32]:
        return ((centres[labels // 3] + noise * random.standard_normal((len(labels), dim))) @ mixing).astype(np.float32)

    return draw(), labels, draw(), labels


def test_the_discriminant_is_that_of_scikit_learn() -> None:
    train, labels, test, _ = _sets(classes=8, images=400, noise=0.7)
    own = LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(8, 1 / 8)).fit(train, labels).predict(test)
    assert np.mean(discriminant(train, labels, test) == own) > 0.995  # but for the shrinkage, small with 3,200 images


def test_the_scores_of_a_larger_set_choose_the_classifier() -> None:
    train, labels, test, _ = _sets(classes=8, images=20, noise=3.0)
    scaler = StandardScaler().fit(train)
    expected = discriminant(scaler.transform(train), labels, scaler.transform(test))
    by_larger = linear_probe(train, labels, test, training_scores(np.arange(2000)))
    assert (by_larger == expected).all()
    assert (by_larger != linear_probe(train, labels, test)).any()


def test_one_image_a_class_has_no_spread_within_classes() -> None:
    train, labels, test, truth = _sets(classes=20, images=1, noise=0.1)
    assert np.mean(discriminant(train, labels, test) == truth) > 0.9


def test_the_neighbour_is_that_of_scikit_learn() -> None:
    train, labels, test, _ = _sets(classes=9, images=7)
    own = KNeighborsClassifier(n_neighbors=1).fit(normalize(train), labels).predict(normalize(test))
    assert (nearest_labels(train, labels, test) == own).all()


@pytest.mark.parametrize(("classes", "images"), [(40, 5), (600, 4)])
def test_few_and_many_classes_are_told_apart(classes: int, images: int) -> None:
    train, labels, test, truth = _sets(classes, images, noise=0.1, dim=32)
    assert np.mean(linear_probe(train, labels, test) == truth) > 0.95


@pytest.mark.parametrize("backend", ["lda", "plda"])
def test_a_fitted_neighbour_ignores_directions_that_differ_within_classes(backend: Backend) -> None:
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(30), 6)
    centres = random.standard_normal((30, 8))

    def draw() -> NDArray[np.float32]:
        noise = 4 * random.standard_normal((len(labels), 8))  # in eight further directions, the same for all classes
        return np.hstack([centres[labels] + 0.1 * random.standard_normal((len(labels), 8)), noise]).astype(np.float32)

    train, test = draw(), draw()
    assert np.mean(nearest_labels(train, labels, test) == labels) < 0.7
    assert np.mean(nearest_labels(train, labels, test, backend) == labels) > 0.95
