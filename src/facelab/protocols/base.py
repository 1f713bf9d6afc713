"""What every protocol takes and returns."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from facelab.data.faces import FaceSet
from facelab.data.split import Splits
from facelab.metrics import Metric
from facelab.models.base import FaceModule
from facelab.protocols.plots import Plot


@dataclass(frozen=True)
class Outputs:
    """Outputs of a model on one split.

    Args:
        embeddings: (N, D) float32.
        predicted: (N,) int64, labels given by the model's own head; None where it has none.
        labels: (N,) int64.
        identities: (N,) int64.
        indices: (N,) int64, numbers of the images in the face set, rising.
        terms: further values of each image by name, (N,) float32, such as `squared_error`.
    """

    embeddings: NDArray[np.float32]
    predicted: NDArray[np.int64] | None
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
    """Results of a protocol.

    Args:
        metrics: values by name, such as `test/f1`.
        table: the most important of them, for people.
        intervals: 95 % intervals of some of them.
        images: (H, W, 3) uint8 by name.
        files: rows of CSV files by name, the header first.
        notes: what to know before the metrics are used, a sentence or two each.
    """

    metrics: Mapping[str, float]
    table: Table
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    images: Mapping[str, Plot] = field(default_factory=dict)
    files: Mapping[str, Sequence[Sequence[object]]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Subject:
    """A trained model, the faces it is evaluated on, and its outputs on them.

    Args:
        faces: the face set.
        splits: train, val and test; `test` is the split that is evaluated.
        train: outputs on the training split.
        test: outputs on the evaluated split.
        module: the model, in evaluation mode.
        seed: of the run.
        dependencies: folders of the runs that the protocol depends on, by name.
    """

    faces: FaceSet
    splits: Splits
    train: Outputs
    test: Outputs
    module: FaceModule
    seed: int
    dependencies: Mapping[str, Path] = field(default_factory=dict)


class Protocol(ABC):
    """An evaluator of trained models.

    Attributes:
        metrics: everything it may report, declared; the interval ends `<name>_low` and `<name>_high` need none.
        dependencies: names of its arguments that describe further runs, each as a list of overrides.
    """

    metrics: ClassVar[tuple[Metric, ...]]
    dependencies: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def can_evaluate(cls, model: type[FaceModule]) -> bool:
        """Whether it applies to a class of models; a run leaves out those of its protocols that do not."""
        return True

    @classmethod
    def check_dependency(cls, name: str, config: Mapping[str, Any]) -> None:
        """Check the composed config of a run it depends on.

        Raises:
            ConfigError: such a run would not serve.
        """
        return

    @abstractmethod
    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Check before training that the protocol applies to a split.

        Raises:
            ConfigError: it does not; says why, and what to choose.
        """

    @abstractmethod
    def evaluate(self, subject: Subject) -> Report:
        """Evaluate a model."""
