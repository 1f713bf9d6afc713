"""What every protocol takes and gives."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facelab.data.faces import FaceSet
from facelab.data.split import Splits
from facelab.protocols.plots import Plot


@dataclass(frozen=True)
class Outputs:
    """What a model said of one part of a split.

    Args:
        embeddings: (N, D) float32.
        scores: (N, C) float32 of the model's own head; None where it has none.
        labels: (N,) int64.
        identities: (N,) int64.
        indices: (N,) int64, numbers of the pictures in the face set, rising.
        terms: further values of each picture by name, (N,) float32, such as `squared_error`.
    """

    embeddings: NDArray[np.float32]
    scores: NDArray[np.float32] | None
    labels: NDArray[np.int64]
    identities: NDArray[np.int64]
    indices: NDArray[np.int64]
    terms: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """What the terminal shows of a report.

    Args:
        title: above it.
        columns: their headings; the first column names the rows.
        rows: a text for each column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Report:
    """A protocol's findings.

    Args:
        metrics: values by name, such as `test/f1`.
        table: the most important of them, for people.
        intervals: 95 % intervals of some of them.
        pictures: (H, W, 3) uint8 by name.
        files: rows of CSV files by name, the header first.
    """

    metrics: Mapping[str, float]
    table: Table
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    images: Mapping[str, Plot] = field(default_factory=dict)
    files: Mapping[str, Sequence[Sequence[object]]] = field(default_factory=dict)


class Protocol(ABC):
    """A question asked of a trained model."""

    @abstractmethod
    def check(self, splits: Splits, faces: FaceSet) -> None:
        """See whether the question can be asked on a split, before training.

        Raises:
            ConfigError: it cannot; says why, and what to choose.
        """

    @abstractmethod
    def evaluate(self, train: Outputs, test: Outputs, faces: FaceSet) -> Report:
        """Judge a model by its answers on training and test pictures."""
