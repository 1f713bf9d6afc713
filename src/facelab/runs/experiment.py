"""The root of a run's config."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from facelab.data.augment import Augmentation
from facelab.data.source import FaceSource
from facelab.data.splits.base import Split
from facelab.errors import ConfigError
from facelab.models.base import FaceModule
from facelab.protocols.base import Protocol
from facelab.synthetic import SyntheticFaces
from facelab.system import check_path
from facelab.tracking import Store
from facelab.training.trainer import TrainerSettings

Seen = Literal["refuse", "allow"]


@dataclass(frozen=True)
class Runtime:
    """Settings that do not change results.

    Args:
        workers: number of data loader processes; 0 loads in the training process.
        runs_folder: where runs keep their files, each in a folder named by its id.
        checkpoint_every_s: seconds between checkpoints.
    """

    workers: Annotated[int, Field(ge=0)] = 2
    runs_folder: str = "runs"
    checkpoint_every_s: Annotated[float, Field(gt=0, le=60)] = 30.0

    def check(self) -> None:
        """Check that the runs folder is writable.

        Raises:
            ConfigError: none is named, or it cannot be created or written.
        """
        if not self.runs_folder.strip():
            raise ConfigError("runtime.runs_folder: expected a folder, got an empty text. The current folder is `.`.")
        folder = Path(self.runs_folder).absolute()
        check_path("runtime.runs_folder", folder)
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
            raise ConfigError(
                f"runtime.runs_folder: {folder} cannot be used: {nearest} is not a writable folder. "
                "Choose another one with runtime.runs_folder=<folder>."
            )


@dataclass(frozen=True)
class ValidationSettings:
    """Validation during training, and the metric that selects the weights.

    Args:
        protocols: names of the run's protocols that are also evaluated on the validation split; their metrics are
            recorded as `val/...`.
        metric: the `val/...` metric that selects the best weights; null for the highest `val/f1`, ties broken by the
            lowest `val/loss`.
    """

    protocols: Sequence[str] = ()
    metric: str | None = None


@dataclass(frozen=True)
class Experiment:
    """The root of a training config: its arguments are the config's root keys.

    Args:
        data: source of the face images.
        split: division into training, validation and test images.
        augment: augmentation of the training images.
        model: factory, called with `image_shape` and `num_classes`.
        trainer: hardware and precision.
        tracking: the store that records the run.
        protocol: evaluation protocols by name; those that do not apply to the model are skipped.
        validation: validation during training.
        runtime: settings that do not change results.
        seed: of initial weights, order, augmentation and dropout; the split has its own seed.
        name: name of the run in MLflow; null for one made of the choices.
        synthetic: synthetic faces that are added to the training images; null for none.
    """

    data: FaceSource
    split: Split
    augment: Augmentation
    model: Callable[..., FaceModule]
    trainer: TrainerSettings
    tracking: Store
    protocol: Mapping[str, Protocol]
    validation: ValidationSettings
    runtime: Runtime
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    name: str | None = None
    synthetic: SyntheticFaces | None = None


@dataclass(frozen=True)
class Evaluation:
    """The root of the config of an evaluation: a trained run, and what it is evaluated on.

    Args:
        evaluates: id of the trained run.
        data: source of the face images.
        split: division into training, validation and test images.
        protocol: evaluation protocols by name; those that do not apply to the model are skipped.
        model: factory of the run's model, as recorded.
        trainer: hardware and precision.
        seed: of the run.
        seen: whether the run may have been trained on images or people that it is tested on.
    """

    evaluates: str
    data: FaceSource
    split: Split
    protocol: Mapping[str, Protocol]
    model: Callable[..., FaceModule]
    trainer: TrainerSettings
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    seen: Seen = "refuse"
