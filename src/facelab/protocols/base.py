"""Base class of all protocols, with its inputs and results."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from facelab.config.needs import NeedsRuns
from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits
from facelab.metrics import Metric
from facelab.models.base import FaceModule
from facelab.protocols.plots import Plot


@dataclass(frozen=True)
class Outputs:
    """Outputs of a model on one split.

    Args:
        embeddings: (N, D) float32.
        predicted: (N,) int64, labels predicted by the model's head; None if it has no head.
        labels: (N,) int64.
        identities: (N,) int64.
        indices: (N,) int64, numbers of the images in the face set, ascending.
        terms: further values per image by name, (N,) float32, such as `squared_error`.
    """

    embeddings: NDArray[np.float32]
    predicted: NDArray[np.int64] | None
    labels: NDArray[np.int64]
    identities: NDArray[np.int64]
    indices: NDArray[np.int64]
    terms: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of results for the terminal.

    Args:
        title: title above the table.
        columns: headings of the columns; the first column names the rows.
        rows: the cells of each row, one per column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Report:
    """Results of a protocol.

    Args:
        metrics: values by name, such as `test/f1`.
        table: the most important metrics, for the terminal.
        intervals: 95 % confidence intervals (low, high) of some metrics, by name.
        images: plots (H, W, 3) uint8 by name.
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
        splits: train, val and test; `test` is the evaluated split.
        train: outputs on the training split.
        test: outputs on the evaluated split.
        module: the model, in evaluation mode.
        seed: the run's seed.
        val: outputs on the validation split, on which protocols choose thresholds; None if the split has none, or if
            no protocol `chooses_thresholds`.
        dependencies: folders of the runs that the protocol depends on, by name.
    """

    faces: FaceSet
    splits: Splits
    train: Outputs
    test: Outputs
    module: FaceModule
    seed: int
    val: Outputs | None = None
    dependencies: Mapping[str, Path] = field(default_factory=dict)

    @property
    def development(self) -> Outputs | None:
        """`val` if none of its people are in training, so that thresholds can be chosen on them; else None."""
        if self.val is None or np.isin(self.val.identities, self.faces.identities[self.splits.train]).any():
            return None
        return self.val


class Protocol(NeedsRuns, ABC):
    """Base class of protocols, which evaluate trained models.

    Attributes:
        metrics: declarations of all metrics it may report, except the interval ends `<name>_low` and `<name>_high`.
        chooses_thresholds: whether it needs the outputs on the validation split.
        tests_known_people: whether it tests people whose other images are for training; any other protocol is for
            people that the model has never seen.
    """

    metrics: tuple[Metric, ...]
    chooses_thresholds: ClassVar[bool] = False
    tests_known_people: ClassVar[bool] = False

    def needs_training_images(self, splits: Splits, faces: FaceSet) -> bool:
        """Whether it uses outputs on the training split; if not, they may be empty."""
        return True

    @classmethod
    def can_evaluate(cls, model: type[FaceModule]) -> bool:
        """Whether the protocol applies to a class of models; runs skip protocols that do not apply."""
        return True

    @abstractmethod
    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Check before training that the protocol applies to the splits.

        Raises:
            ConfigError: it does not apply; the message says why and what to choose instead.
        """

    def check_validation(self, splits: Splits, faces: FaceSet) -> None:
        """As `check`, for an evaluation on the validation split, which `splits` has in place of the test split."""
        self.check(splits, faces)

    def measured(self, splits: Splits, faces: FaceSet) -> Sequence[Metric]:
        """Those of `metrics` that `measure` gives on these splits, from which weights can be chosen."""
        return self.metrics

    def measure(self, subject: Subject) -> Mapping[str, float]:
        """The metrics of `evaluate`, for a model during training; faster where no intervals and images are made."""
        return self.evaluate(subject).metrics

    @abstractmethod
    def evaluate(self, subject: Subject) -> Report:
        """Evaluate a trained model."""
