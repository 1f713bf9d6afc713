"""The root of a run's config."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from facelab.data.augment import Augmentation
from facelab.data.faces import FaceSource
from facelab.data.split import Split
from facelab.errors import ConfigError
from facelab.models.base import FaceModule
from facelab.protocols.base import Protocol
from facelab.tracking import Store
from facelab.training.trainer import TrainerSettings


@dataclass(frozen=True)
class Runtime:
    """What does not change results.

    Args:
        workers: loader processes; 0 loads in the training process.
        runs_folder: where runs keep their files, each in a folder of its id.
        checkpoint_every_s: seconds between two checkpoints, from which an interrupted run can go on.
    """

    workers: Annotated[int, Field(ge=0)] = 2
    runs_folder: str = "runs"
    checkpoint_every_s: Annotated[float, Field(gt=0, le=60)] = 30.0

    def check(self) -> None:
        """See that runs can keep files, before one is begun.

        Raises:
            ConfigError: the folder cannot be made or written.
        """
        folder = Path(self.runs_folder).absolute()
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
            raise ConfigError(
                f"runtime.runs_folder: {folder} cannot be used, since {nearest} is no folder one can write into. "
                "Choose another one with runtime.runs_folder=<folder>."
            )


@dataclass(frozen=True)
class ValidationSettings:
    """What is evaluated on the validation images during training, and which weights are kept by it.

    Args:
        protocols: names of protocols of the run that are also evaluated on the validation images; their metrics are
            recorded as `val/...`.
        metric: `val/...`, by which the best weights are kept; null for the highest `val/f1`, then the lowest
            `val/loss`.
    """

    protocols: Sequence[str] = ()
    metric: str | None = None


@dataclass(frozen=True)
class Experiment:
    """The root of a training config: its arguments are the config's root keys.

    Args:
        data: where the faces come from.
        split: which are for training, validation and test.
        augment: how training pictures are varied.
        model: called with `image_shape` and `num_classes`.
        trainer: hardware and precision.
        tracking: where the run is recorded.
        protocol: evaluators of the trained model, by name; those that do not apply to it are left out.
        validation: what is evaluated during training.
        runtime: what does not change results.
        seed: of initial weights, order, augmentation and dropout; the split has a seed of its own.
        name: of the run on MLflow's page; null for one made of the choices.
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
