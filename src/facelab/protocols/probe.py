"""Classifiers on embeddings: a linear probe and the nearest neighbour."""

import numpy as np
from numpy.typing import NDArray

from facelab.protocols.backends import Backend, fit

# Up to this many scores of training images, logistic regression takes seconds.
MOST_LOGISTIC_SCORES = 1_000_000
_BLOCK_SCORES = 2**24


def linear_probe(
    train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], scores: int | None = None
) -> NDArray[np.int64]:
    """Predict labels by a linear classifier on standardised embeddings.

    Up to a million scores (training images x classes), logistic regression with an L2 penalty, C = 1. Above,
    `discriminant`, whose fit needs neither iterations nor the scores of all images at once.

    Args:
        train: (N, D) embeddings to fit to.
        labels: (N,) their labels.
        test: (M, D) embeddings to label.
        scores: number of scores to choose the classifier by, so that probes of several sets are the same; None for that
            of the training images.

    Returns:
        (M,) int64.
    """
    from sklearn.linear_model import LogisticRegression  # imported here: it takes half a second
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    scaled_train, scaled_test = scaler.transform(train), scaler.transform(test)
    if (training_scores(labels) if scores is None else scores) > MOST_LOGISTIC_SCORES:
        return discriminant(scaled_train, labels, scaled_test)
    found: NDArray[np.int64] = LogisticRegression(max_iter=2000).fit(scaled_train, labels).predict(scaled_test)
    return found


def training_scores(labels: NDArray[np.int64]) -> int:
    """Number of scores of training images (N,): images x classes."""
    return len(labels) * len(np.unique(labels))


def discriminant(train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32]) -> NDArray[np.int64]:
    """Predict labels by linear discriminant analysis with equal priors: the class mean nearest in Mahalanobis distance.

    The covariance within classes is shrunk as in Ledoit and Wolf, "A well-conditioned estimator for large-dimensional
    covariance matrices", 2004. If every class has only one image, the covariance of all images replaces it.

    Args:
        train: (N, D) embeddings to fit to.
        labels: (N,) their labels.
        test: (M, D) embeddings to label.

    Returns:
        (M,) int64.
    """
    from sklearn.covariance import LedoitWolf

    classes, class_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.zeros((len(classes), train.shape[1]))
    np.add.at(means, class_of, train)
    means /= counts[:, None]
    centred = train - (means[class_of] if counts.max() > 1 else means.mean(axis=0))
    covariance = LedoitWolf(assume_centered=True).fit(centred).covariance_
    weights = np.linalg.solve(covariance, means.T)
    offsets = -0.5 * np.einsum("cd,dc->c", means, weights)
    step = max(1, _BLOCK_SCORES // len(classes))
    blocks = range(0, len(test), step)
    nearest = np.concatenate([(test[i : i + step] @ weights + offsets).argmax(axis=1) for i in blocks])
    found: NDArray[np.int64] = classes[nearest]
    return found


def nearest_labels(
    train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], backend: Backend = "cosine"
) -> NDArray[np.int64]:
    """Predict the label of the training embedding with the highest score.

    Args:
        train: (N, D) embeddings to compare with, to which the backend is fitted.
        labels: (N,) their labels.
        test: (M, D) embeddings to label.
        backend: scores pairs of embeddings.

    Returns:
        (M,) int64.
    """
    scoring = fit(backend, train, labels)
    known, searched = scoring(train), scoring(test)
    step = max(1, _BLOCK_SCORES // len(train))
    blocks = (np.arange(i, min(i + step, len(test))) for i in range(0, len(test), step))
    found: NDArray[np.int64] = labels[np.concatenate([searched.only(b).against(known).argmax(axis=1) for b in blocks])]
    return found
