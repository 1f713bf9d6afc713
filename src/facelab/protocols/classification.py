"""Closed-set classification: the same people in training and test."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from facelab.metrics.classification import classification_metrics
from facelab.protocols.base import Answers, Protocol, Report
from facelab.protocols.intervals import classification_intervals


class Classification(Protocol):
    """Three judges of one model.

    `test/*`: the model's own head, or the probe where it has none. `probe/*`: a linear probe (logistic regression on
    standardised embeddings, L2 penalty with C = 1) fitted to the training pictures' embeddings, the same for every
    family. `knn/accuracy`: the nearest training picture by cosine. Accuracy, and precision, recall and F1 as macro
    averages over all classes; `test/*` with 95 % intervals.
    """

    def evaluate(self, train: Answers, test: Answers, label_names: Sequence[str]) -> Report:
        """Fit probe and neighbours to `train`, judge on `test`."""
        from sklearn.linear_model import LogisticRegression  # here: a run's start need not wait for them
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer, StandardScaler

        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        probed = probe.fit(train.embeddings, train.labels).predict(test.embeddings)
        nearest = make_pipeline(Normalizer(), KNeighborsClassifier(n_neighbors=1))
        neighbours = nearest.fit(train.embeddings, train.labels).predict(test.embeddings)
        own = probed if test.scores is None else test.scores.argmax(axis=1)
        metrics = {
            **_metrics("test", own, test.labels, len(label_names)),
            **_metrics("probe", probed, test.labels, len(label_names)),
            "knn/accuracy": float(np.mean(neighbours == test.labels)),
        }
        intervals = classification_intervals(own, test.labels, test.identities, len(label_names))
        return Report(metrics, own, {f"test/{name}": ends for name, ends in intervals.items()})


def _metrics(
    prefix: str, predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int
) -> dict[str, float]:
    found = classification_metrics(torch.from_numpy(predicted), torch.from_numpy(labels), num_classes)
    return {f"{prefix}/{name}": float(value) for name, value in found.items()}
