"""What every protocol takes and gives."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """What a model said of one part of a split.

    Args:
        embeddings: (N, D) float32.
        scores: (N, C) float32 of the model's own head; None where it has none.
        labels: (N,) int64.
        identities: (N,) int64.
        indices: (N,) int64, numbers of the pictures in the face set, rising.
    """

    embeddings: NDArray[np.float32]
    scores: NDArray[np.float32] | None
    labels: NDArray[np.int64]
    identities: NDArray[np.int64]
    indices: NDArray[np.int64]


@dataclass(frozen=True)
class Report:
    """A protocol's findings.

    Args:
        metrics: values by name, such as `test/f1`.
        intervals: 95 % intervals of some of them.
        predicted: (N,) int64, the label the model gives each test picture.
    """

    metrics: Mapping[str, float]
    predicted: NDArray[np.int64]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Protocol(ABC):
    """A question asked of a trained model."""

    @abstractmethod
    def evaluate(self, train: Answers, test: Answers, label_names: Sequence[str]) -> Report:
        """Judge a model by its answers on training and test pictures."""
