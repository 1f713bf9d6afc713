"""Accuracy, precision, recall and F1 over a fixed list of classes."""

import torch
from torch import Tensor

NAMES = ("accuracy", "precision", "recall", "f1")


def per_class_metrics(
    predicted: Tensor, labels: Tensor, num_classes: int, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Precision, recall and F1 of every class; a ratio with denominator 0 is 0.

    Args:
        predicted: (N,) int64 in [0, num_classes).
        labels: (N,) int64 in [0, num_classes).
        num_classes: number of classes.
        weights: (B, N) non-negative float: how often each image counts in each of B resamples; None for once.

    Returns:
        `precision`, `recall`, `f1`, each (num_classes,) in [0, 1], or (B, num_classes) with weights.
    """
    weight = torch.ones(1, len(labels), dtype=torch.float64) if weights is None else weights.double()

    def count(classes: Tensor, of: Tensor) -> Tensor:
        return torch.zeros(len(of), num_classes, dtype=torch.float64).index_add_(1, classes, of)

    correct = count(labels, weight * (predicted == labels))
    as_predicted, as_labelled = count(predicted, weight), count(labels, weight)

    def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
        return torch.where(denominator > 0, numerator / denominator.clamp_min(1e-12), 0.0)

    result = {
        "precision": ratio(correct, as_predicted),
        "recall": ratio(correct, as_labelled),
        "f1": ratio(2 * correct, as_predicted + as_labelled),
    }
    return {name: value[0] for name, value in result.items()} if weights is None else result


def classification_metrics(predicted: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor]:
    """Accuracy, and macro precision, recall and F1.

    The macro averages run over the classes that have images, as with scikit-learn's `labels=np.unique(labels),
    zero_division=0`: what is classified as another class, which may be known from training alone, counts as an error.

    Args:
        predicted: (N,) int64 in [0, num_classes); N at least 1.
        labels: (N,) int64 in [0, num_classes).
        num_classes: number of classes.

    Returns:
        Scalars in [0, 1], named as in `NAMES`.
    """
    present = torch.bincount(labels, minlength=num_classes) > 0
    found = per_class_metrics(predicted, labels, num_classes)
    macro = {name: values[present].mean() for name, values in found.items()}
    return {"accuracy": (predicted == labels).double().mean(), **macro}
