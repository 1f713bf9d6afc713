"""The only assembler: from a config to data, model, trainer and tracker, and from there to metrics."""

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from rich.console import Console

from facelab.callbacks.averaging import ExponentialMovingAverage
from facelab.callbacks.images_seen import ImagesSeen
from facelab.callbacks.progress import ProgressBar
from facelab.callbacks.stop_on_nan import StopOnNaN
from facelab.callbacks.training_log import Record, TrainingLog
from facelab.callbacks.validation import Validation
from facelab.config import build, configured, flatten
from facelab.data.augment import Augmentation
from facelab.data.faces import FaceSet, FaceSource
from facelab.data.module import FaceDataModule
from facelab.data.split import Parts, Split, split
from facelab.errors import ConfigError
from facelab.gather import gather_features
from facelab.launch import launch
from facelab.models.base import FaceModule
from facelab.protocols.base import Answers, Protocol
from facelab.record import RunRecord
from facelab.summary import print_summary
from facelab.tracking import Store, TrackedRun
from facelab.trainer import TrainerSettings


@dataclass(frozen=True)
class Runtime:
    """What does not change results.

    Args:
        workers: loader processes; 0 loads in the training process.
        runs_folder: where runs keep their files, each in a folder of its id.
    """

    workers: Annotated[int, Field(ge=0)] = 2
    runs_folder: str = "runs"

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
class Experiment:
    """The root of a training config: its arguments are the config's root keys.

    Args:
        data: where the faces come from.
        split: which are for training, validation and test.
        augment: how training pictures are varied.
        model: called with `image_shape` and `num_classes`.
        trainer: hardware and precision.
        tracking: where the run is recorded.
        protocol: what the trained model is asked.
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
    protocol: Protocol
    runtime: Runtime
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    name: str | None = None


@dataclass(frozen=True)
class Result:
    """What a training run leaves behind: its id in MLflow, its folder, and its final metrics."""

    run_id: str
    folder: Path
    metrics: Mapping[str, float]


def train(config: Mapping[str, Any], choices: Mapping[str, str]) -> Result:
    """Train one model and judge it; everything is recorded.

    Args:
        config: a checked config, plain dicts and lists.
        choices: which file of each config group was chosen, such as `model: cnn`.

    Raises:
        FacelabError: something the user can mend; nothing is recorded if it shows before training.
        KeyboardInterrupt: the user stopped it; the run is closed as KILLED.
    """
    prepared = _Prepared.of(config)  # here too where processes are started: bad input shows before they are
    devices = prepared.settings.devices
    result = _run(prepared, config, choices) if devices == 1 else launch(devices, _run_as_rank, config, choices)
    assert result is not None, "the first process always has a result"
    return result


@dataclass(frozen=True)
class _Prepared:
    """Everything a run needs, made and checked; nothing is recorded yet."""

    experiment: Experiment
    settings: TrainerSettings
    faces: FaceSet
    parts: Parts
    module: FaceModule
    data: FaceDataModule

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "_Prepared":
        experiment = Experiment(**build(config))
        settings = experiment.trainer.resolved()
        experiment.runtime.check()
        faces = experiment.data.load()
        parts = split(faces, experiment.split)
        experiment.augment.check(faces.pixels[int(parts.train[0])])
        pl.seed_everything(experiment.seed, verbose=False)
        module = configured("model", lambda: _make_model(experiment, faces))
        configured("model.optimizer", module.configure_optimizers)
        recipe, workers = module.recipe, experiment.runtime.workers
        if recipe.batch_size % settings.devices:
            raise ConfigError(
                f"model.recipe.batch_size={recipe.batch_size} cannot be shared evenly by "
                f"trainer.devices={settings.devices} processes; choose a multiple."
            )
        total_images = recipe.total_images(len(parts.train))
        data = FaceDataModule(
            faces, parts, experiment.augment, recipe.batch_size, total_images, experiment.seed, workers
        )
        return cls(experiment, settings, faces, parts, module, data)


def _run_as_rank(config: Mapping[str, Any], choices: Mapping[str, str]) -> Result | None:
    return _run(_Prepared.of(config), config, choices)


def _run(prepared: _Prepared, config: Mapping[str, Any], choices: Mapping[str, str]) -> Result | None:
    """One process's share of a run; all but the first return None."""
    experiment, settings, faces = prepared.experiment, prepared.settings, prepared.faces
    parts, module, data = prepared.parts, prepared.module, prepared.data
    rank = int(os.environ.get("RANK", 0))
    console = Console(quiet=rank > 0)
    progress = ProgressBar(console, data.total_images)
    tracked: TrackedRun | None = None

    def log(values: Mapping[str, float], images_seen: int) -> None:
        progress.show(values, images_seen)
        if tracked is not None:
            tracked.metrics(values, images_seen)

    validation = Validation(log, len(faces.label_names))
    callbacks = [*_callbacks(prepared, validation, log), *([progress] if rank == 0 else [])]
    steps = data.total_images // module.recipe.batch_size
    trainer = settings.make(callbacks, steps, has_validation=len(parts.val) > 0)
    if rank == 0:
        resolved = {**config, "trainer": {**config["trainer"], **dataclasses.asdict(settings)}}
        params = {**choices, **{key: _text(value) for key, value in flatten(resolved).items()}}
        tracked = TrackedRun(experiment.tracking, experiment.name or _name(choices, experiment), params)

    with _closing(tracked):
        record = tracked and RunRecord(tracked, Path(experiment.runtime.runs_folder), faces)
        if record:
            record.begin(resolved, parts, data.first_batch())
        with _interruptible():
            started = time.perf_counter()
            trainer.fit(module, datamodule=data)
            seconds = time.perf_counter() - started
            validation.restore_best(module)
            on_train = _answers(trainer, module, data, parts.train)
            on_test = _answers(trainer, module, data, parts.test)
        if not record:
            return None
        report = experiment.protocol.evaluate(on_train, on_test, faces.label_names)
        facts = {
            "test/images": float(len(on_test.labels)),
            "fit/seconds": seconds,
            "fit/images_per_second": data.total_images / seconds,
        }
        best = validation.best_images_seen
        record.conclude(module, report, on_test, facts if best is None else {**facts, "fit/best_images_seen": best})
    weights = "last" if best is None else f"best on validation, after {best:,} images"
    trained = f"{data.total_images:,} images in {seconds:.0f} s; weights: {weights}; {settings.precision}"
    print_summary(console, report, record.tracked, record.folder, trained)
    return Result(record.tracked.id, record.folder, report.metrics)


def _callbacks(prepared: _Prepared, validation: Validation, log: Record) -> list[pl.Callback]:
    """What accompanies training, in the order it must be called."""
    recipe = prepared.module.recipe
    callbacks: list[pl.Callback] = [ImagesSeen(prepared.data.total_images, prepared.experiment.seed), StopOnNaN()]
    callbacks += [validation, TrainingLog(log)]
    if recipe.ema_half_life_images:
        callbacks.append(ExponentialMovingAverage(recipe.ema_half_life_images, recipe.batch_size))
    return callbacks


def _make_model(experiment: Experiment, faces: FaceSet) -> FaceModule:
    module = experiment.model(image_shape=faces.image_shape, num_classes=len(faces.label_names))
    # Settled here, before averaging and optimisers take hold of the weights.
    return module.to(memory_format=torch.channels_last)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM come out as KeyboardInterrupt; Lightning would end the process."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGINT, handler)


def _answers(trainer: pl.Trainer, module: FaceModule, data: FaceDataModule, indices: NDArray[np.int64]) -> Answers:
    """What the model says of some pictures; every process must call this, and gets the whole."""
    batches = trainer.predict(module, dataloaders=data.evaluation_loader(indices))
    features = gather_features(batches or [], trainer.world_size)  # type: ignore[arg-type]
    found = features["index"].numpy()
    return Answers(
        embeddings=features["embedding"].float().numpy(),
        scores=features["scores"].float().numpy() if "scores" in features else None,
        labels=features["label"].numpy(),
        identities=data.faces.identities[found],
        indices=found,
    )


@contextmanager
def _closing(tracked: TrackedRun | None) -> Iterator[None]:
    """Close the run by how its block ends."""
    if tracked is None:
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        tracked.finish("KILLED", "interrupted")
        raise
    except BaseException as error:
        tracked.finish("FAILED", f"{type(error).__name__}: {error}")
        raise
    tracked.finish("FINISHED")


def _name(choices: Mapping[str, str], experiment: Experiment) -> str:
    """Such as `cnn · k=5 · split=0 · seed=1`: short, since MLflow's columns are narrow."""
    return f"{choices['model']} · {experiment.split.title} · seed={experiment.seed}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
