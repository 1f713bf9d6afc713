"""Closed-set classification: training and test have the same classes."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.metrics.classification import NAMES, classification_metrics
from facelab.protocols import backends, plots
from facelab.protocols.backends import Backend
from facelab.protocols.base import Outputs, Protocol, Report, Subject, Table
from facelab.protocols.confusions import confused_pairs, most_confused
from facelab.protocols.intervals import classification_intervals
from facelab.protocols.probe import linear_probe, nearest_labels

_TITLES = {"accuracy": "accuracy", "precision": "precision (macro)", "recall": "recall (macro)", "f1": "F1 (macro)"}
_SHOWN_FACES = 32
_ONE_PERSON = (
    "classification: all test images show one person, which says nothing about others, so test/* have no intervals. "
    "Quote the mean over splits that test other people."
)


class Classification(Protocol):
    """Accuracy, and macro precision, recall and F1, of three classifiers on a model's embeddings.

    `test/*`: the model's head, or the linear probe for models without a head; with 95 % intervals. `linear_probe/*`:
    logistic regression on standardised embeddings (L2 penalty with C = 1), fitted to the embeddings of the training
    images, the same for every family; above a million scores of training images, linear discriminant analysis, see
    `linear_probe`. `knn/accuracy`: the training image with the highest score.

    Args:
        backend: scores pairs of embeddings for the nearest neighbour; `lda` and `plda` are fitted to the training
            images and their labels.
    """

    metrics = (
        Metric("test/accuracy", "accuracy", True, "share", headline=True),
        Metric("test/precision", "precision (macro)", True, "share"),
        Metric("test/recall", "recall (macro)", True, "share"),
        Metric("test/f1", "F1 (macro)", True, "share", headline=True),
        Metric("linear_probe/accuracy", "accuracy of the linear probe", True, "share", headline=True),
        Metric("linear_probe/precision", "precision of the linear probe (macro)", True, "share"),
        Metric("linear_probe/recall", "recall of the linear probe (macro)", True, "share"),
        Metric("linear_probe/f1", "F1 of the linear probe (macro)", True, "share"),
        Metric("knn/accuracy", "accuracy of the nearest neighbour", True, "share", headline=True),
        Metric("test/images", "test images", True, "images"),
    )

    tests_known_people = True

    def __init__(self, backend: Backend = "cosine") -> None:
        self.backend = backend

    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Check that every test class has training images, and that the backend can be fitted to them."""
        unseen = np.setdiff1d(faces.labels[splits.test], faces.labels[splits.train])
        if len(unseen):
            raise ConfigError(
                f"protocol=classification: {len(unseen)} test classes have no training images, such as "
                f"'{faces.label_names[unseen[0]]}'. Set a split whose training and test images show the same people, "
                "such as split=few_shot, or set protocol=verification for unseen people."
            )
        backends.check(self.backend, faces.labels[splits.train])

    def measure(self, subject: Subject) -> dict[str, float]:
        """The metrics of `evaluate`."""
        return _measured(subject, self.backend)[1]

    def evaluate(self, subject: Subject) -> Report:
        """Fit the linear probe and the nearest neighbours to the training split; evaluate on the test split."""
        predicted, metrics = _measured(subject, self.backend)
        test, faces = subject.test, subject.faces
        names = faces.label_names
        ends = classification_intervals(predicted, test.labels, test.identities, len(names))
        intervals = {f"test/{name}": pair for name, pair in ends.items()}
        return Report(
            metrics,
            _table(metrics, intervals),
            intervals,
            _images(predicted, subject, metrics["test/accuracy"]),
            {"predictions": _predictions(predicted, test, names), "confusions": _confusions(predicted, test, names)},
            () if intervals else [_ONE_PERSON],
        )


def _measured(subject: Subject, backend: Backend) -> tuple[NDArray[np.int64], dict[str, float]]:
    """Predicted labels of the test images, and the metrics."""
    train, test, classes = subject.train, subject.test, len(subject.faces.label_names)
    probed = linear_probe(train.embeddings, train.labels, test.embeddings)
    neighbours = nearest_labels(train.embeddings, train.labels, test.embeddings, backend)
    predicted = probed if test.predicted is None else test.predicted
    return predicted, {
        **_metrics("test", predicted, test.labels, classes),
        **_metrics("linear_probe", probed, test.labels, classes),
        "knn/accuracy": float(np.mean(neighbours == test.labels)),
        "test/images": float(len(test.labels)),
    }


def _metrics(
    prefix: str, predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int
) -> dict[str, float]:
    found = classification_metrics(torch.from_numpy(predicted), torch.from_numpy(labels), num_classes)
    return {f"{prefix}/{name}": float(value) for name, value in found.items()}


def _table(metrics: dict[str, float], intervals: dict[str, tuple[float, float]]) -> Table:
    rows = []
    for name in NAMES:
        ends = intervals.get(f"test/{name}")
        neighbour = metrics.get(f"knn/{name}")
        rows.append(
            [
                _TITLES[name],
                f"{metrics[f'test/{name}']:.1%}",
                "" if ends is None else f"{ends[0]:.1%} to {ends[1]:.1%}",
                f"{metrics[f'linear_probe/{name}']:.1%}",
                "" if neighbour is None else f"{neighbour:.1%}",
            ]
        )
    return Table("test faces", ["", "test", "95 % interval", "linear probe", "1-NN"], rows)


def _images(predicted: NDArray[np.int64], subject: Subject, accuracy: float) -> dict[str, plots.Plot]:
    test, faces = subject.test, subject.faces
    names, wrong = faces.label_names, predicted != test.labels
    drawn = {"misclassified": _misclassified(predicted, test, faces)}
    if len(names) <= plots.MOST_CLASSES:
        title = f"test faces, accuracy {accuracy:.1%}"
        drawn["confusion_matrix"] = plots.confusion_matrix(test.labels, predicted, names, title)
    if wrong.any():
        drawn["confused_pairs"] = confused_pairs(faces, subject.splits.train, test.indices[wrong], predicted[wrong])
    if len(test.labels) >= 5:
        drawn["embeddings"] = plots.embedding_scatter(
            test.embeddings, test.labels, names, "embeddings of the test faces"
        )
    return drawn


def _misclassified(predicted: NDArray[np.int64], test: Outputs, faces: FaceSet) -> plots.Plot:
    wrong = np.flatnonzero(predicted != test.labels)
    if not len(wrong):
        return plots.notice("no test face is misclassified")
    shown = wrong[:_SHOWN_FACES]
    names = faces.label_names
    captions = [f"{names[test.labels[i]]}\ntaken for {names[predicted[i]]}" for i in shown]
    images = [faces.pixels[int(test.indices[i])] for i in shown]
    more = f", the first {len(shown)}" if len(wrong) > len(shown) else ""
    return plots.face_grid(images, captions, title=f"{len(wrong)} of {len(test.labels)} misclassified{more}")


def _predictions(predicted: NDArray[np.int64], test: Outputs, names: Sequence[str]) -> list[list[object]]:
    """Rows of the number in the face set, the true and the predicted label of every test image."""
    rows = zip(test.indices.tolist(), test.labels, predicted, strict=True)
    return [["picture", "label", "predicted"], *([i, names[label], names[given]] for i, label, given in rows)]


def _confusions(predicted: NDArray[np.int64], test: Outputs, names: Sequence[str]) -> list[list[object]]:
    """Rows of each pair of a true and a wrong predicted label with its number of images, the most frequent first."""
    wrong = predicted != test.labels
    found = most_confused(test.labels[wrong], predicted[wrong])
    return [["label", "predicted", "images"], *([names[label], names[given], count] for label, given, count in found)]
