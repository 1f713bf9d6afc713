"""95 % intervals."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from facelab.metrics.classification import classification_metrics, per_class_metrics

LEVEL = 0.95
RESAMPLES = 2000


def classification_intervals(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], identities: NDArray[np.int64], num_classes: int
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap over people, since pictures of one person are not independent.

    Where people are the classes, classes are drawn, each with its own precision, recall and F1 as measured on all test
    pictures: leaving people out of the test would make it easier. Where several people share a class, such as `face`,
    people are drawn within each class.

    Near 0 and 1 a bootstrap is too narrow: where nothing is misclassified, every resample is perfect too. Each interval
    is therefore widened until it reaches as far below and above its value as the exact binomial interval over the N
    pictures (Clopper and Pearson, 1934) reaches below and above the accuracy.

    Args:
        predicted: (N,) labels given.
        labels: (N,) true labels.
        identities: (N,) who is on each picture: people are drawn, with all their pictures.
        num_classes: length of the class list.

    Returns:
        (low, high) of `accuracy`, `precision`, `recall` and `f1`.
    """
    tail = (1 - LEVEL) / 2
    correct = predicted == labels
    people_are_classes = len(np.unique(np.stack([labels, identities]), axis=1).T) == len(np.unique(labels))
    draw = _draw_classes if people_are_classes else _draw_people
    resampled = draw(predicted, labels, identities, num_classes)
    found = classification_metrics(torch.from_numpy(predicted), torch.from_numpy(labels), num_classes)
    accuracy = float(found["accuracy"])
    exact = binomtest(int(correct.sum()), len(correct)).proportion_ci(LEVEL, method="exact")
    below, above = accuracy - exact.low, exact.high - accuracy
    intervals = {}
    for name, values in resampled.items():
        value = float(found[name])
        low, high = np.quantile(values, [tail, 1 - tail])
        intervals[name] = (max(0.0, min(float(low), value - below)), min(1.0, max(float(high), value + above)))
    return intervals


def _draw_classes(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], identities: NDArray[np.int64], num_classes: int
) -> dict[str, NDArray[np.float64]]:
    present, class_of = np.unique(labels, return_inverse=True)
    draws = times_drawn(len(present))
    found = per_class_metrics(torch.from_numpy(predicted), torch.from_numpy(labels), num_classes)
    macro = {name: draws @ values.numpy()[present] / len(present) for name, values in found.items()}
    images = np.bincount(class_of)
    right = np.bincount(class_of, weights=predicted == labels)
    return {"accuracy": (draws @ right) / (draws @ images), **macro}


def _draw_people(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], identities: NDArray[np.int64], num_classes: int
) -> dict[str, NDArray[np.float64]]:
    weights = np.zeros((RESAMPLES, len(labels)))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        people, person_of = np.unique(identities[members], return_inverse=True)
        weights[:, members] = times_drawn(len(people), seed=int(label))[:, person_of]
    found = per_class_metrics(
        torch.from_numpy(predicted), torch.from_numpy(labels), num_classes, torch.from_numpy(weights)
    )
    accuracy = weights @ (predicted == labels) / weights.sum(axis=1)
    return {"accuracy": accuracy, **{name: values.mean(1).numpy() for name, values in found.items()}}


def times_drawn(count: int, seed: int = 0, resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """(resamples, count): how often each of `count` things comes up when as many are drawn with replacement."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
