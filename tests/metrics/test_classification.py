"""Metrics against scikit-learn and torchmetrics, also where classes have no images."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from torchmetrics.functional.classification import multiclass_accuracy

from facelab.metrics.classification import classification_metrics, per_class_metrics

CLASSES = 6
pairs = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)


@given(pairs)
def test_they_agree_with_scikit_learn_also_where_classes_are_absent(found: list[tuple[int, int]]) -> None:
    predicted, labels = (np.array(column) for column in zip(*found, strict=True))
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
    )
    metrics = classification_metrics(torch.from_numpy(predicted), torch.from_numpy(labels), CLASSES)
    expected = {"accuracy": accuracy_score(labels, predicted), "precision": precision, "recall": recall, "f1": f1}
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(expected)


@given(pairs)
def test_accuracy_agrees_with_torchmetrics(found: list[tuple[int, int]]) -> None:
    predicted, labels = (torch.tensor(column) for column in zip(*found, strict=True))
    expected = multiclass_accuracy(predicted, labels, CLASSES, average="micro")
    assert float(classification_metrics(predicted, labels, CLASSES)["accuracy"]) == pytest.approx(float(expected))


@given(pairs, st.integers(0, 2**32 - 1))
def test_weights_count_as_repetitions(found: list[tuple[int, int]], seed: int) -> None:
    predicted, labels = (torch.tensor(column) for column in zip(*found, strict=True))
    weights = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, size=(3, len(labels))))
    weighted = per_class_metrics(predicted, labels, CLASSES, weights)
    for row, weight in enumerate(weights):
        repeated = per_class_metrics(predicted.repeat_interleave(weight), labels.repeat_interleave(weight), CLASSES)
        for name, values in repeated.items():
            assert torch.allclose(weighted[name][row], values)


def test_order_does_not_matter() -> None:
    predicted, labels = torch.tensor([0, 1, 2, 2, 5]), torch.tensor([0, 2, 2, 1, 5])
    order = torch.tensor([3, 0, 4, 1, 2])
    assert classification_metrics(predicted, labels, CLASSES) == classification_metrics(
        predicted[order], labels[order], CLASSES
    )
