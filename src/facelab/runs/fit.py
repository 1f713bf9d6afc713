"""Train one model and evaluate it, in this process or as one rank of several."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console

from facelab.config.build import build, configured
from facelab.data.faces import FaceSet
from facelab.data.module import FaceDataModule
from facelab.data.split import Splits, prepare
from facelab.errors import ConfigError
from facelab.models.base import FaceModule, Generative
from facelab.models.recipe import Recipe
from facelab.models.trained import ModelMetadata
from facelab.protocols.inception import load_inception
from facelab.runs.evaluate import REFERENCE_MODELS, evaluate, faces_for_sample_grids
from facelab.runs.experiment import Experiment
from facelab.runs.record import RunRecord
from facelab.runs.resume import CHECKPOINTS
from facelab.runs.summary import print_summary
from facelab.tracking import TrackedRun
from facelab.training.callbacks.averaging import ExponentialMovingAverage
from facelab.training.callbacks.checkpoints import Checkpoints
from facelab.training.callbacks.images_seen import ImagesSeen
from facelab.training.callbacks.progress import ProgressBar
from facelab.training.callbacks.samples import Samples, shown
from facelab.training.callbacks.stop_on_nan import StopOnNaN
from facelab.training.callbacks.training_log import TrainingLog
from facelab.training.callbacks.validation import Validation
from facelab.training.interrupt import StopRequest, die_with_parent
from facelab.training.trainer import TrainerSettings


@dataclass(frozen=True)
class Result:
    """What a training run leaves behind: its id in MLflow, its folder, and its final metrics."""

    run_id: str
    folder: Path
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs, made and checked; nothing is recorded yet."""

    experiment: Experiment
    settings: TrainerSettings
    faces: FaceSet
    splits: Splits
    metadata: ModelMetadata
    module: FaceModule
    data: FaceDataModule

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Prepared":
        """Build and check everything a run needs.

        Args:
            config: as kept in the run's folder.

        Raises:
            FacelabError: with what is wrong.
        """
        experiment = Experiment(**build(config))
        settings = experiment.trainer.resolved()
        experiment.runtime.check()
        faces, splits = prepare(experiment.data.load(), experiment.split)
        for note in splits.notes if int(os.environ.get("RANK", 0)) == 0 else ():
            print(note)
        experiment.protocol.check(splits, faces)
        experiment.augment.check(faces.pixels[int(splits.train[0])])
        pl.seed_everything(experiment.seed, verbose=False)
        metadata = _model_metadata(faces, splits)
        module = configured("model", lambda: _make_model(experiment, metadata))
        configured(module.optimizer_keys, module.configure_optimizers)
        if isinstance(module, Generative):
            experiment.generation.check(splits)
            if experiment.generation.inception is not None:
                load_inception(experiment.generation.inception)  # what is wrong with it shows before training
        recipe, workers = module.recipe, experiment.runtime.workers
        if recipe.batch_size % settings.devices:
            raise ConfigError(
                f"model.recipe.batch_size={recipe.batch_size} cannot be shared evenly by "
                f"trainer.devices={settings.devices} processes; choose a multiple."
            )
        total_images = recipe.total_images(len(splits.train))
        data = FaceDataModule(
            faces,
            splits,
            experiment.augment,
            recipe.batch_size,
            total_images,
            experiment.seed,
            workers,
            module.needs_originals,
        )
        return cls(experiment, settings, faces, splits, metadata, module, data)


def fit_as_rank(config: Mapping[str, Any], folder: Path, checkpoint: Path | None) -> Result | None:
    """Train and evaluate as one of several processes; arguments and result as for `fit`."""
    die_with_parent()
    stop = StopRequest(patient=True)
    with stop.installed():
        return fit(Prepared.of(config), config, TrackedRun.open(folder), checkpoint, stop)


def fit(
    prepared: Prepared, config: Mapping[str, Any], tracked: TrackedRun, checkpoint: Path | None, stop: StopRequest
) -> Result | None:
    """One process's share of a run; all but the first return None."""
    experiment, settings, faces = prepared.experiment, prepared.settings, prepared.faces
    splits, module, data = prepared.splits, prepared.module, prepared.data
    rank = int(os.environ.get("RANK", 0))
    console = Console(quiet=rank > 0)
    progress = ProgressBar(console, data.total_images)

    def log(values: Mapping[str, float], images_seen: int) -> None:
        progress.show(values, images_seen)
        if rank == 0:
            tracked.metrics(values, images_seen)

    record = RunRecord(tracked, faces)
    clock = ImagesSeen(data.total_images, experiment.seed)
    validation = Validation(log, len(faces.label_names))
    every_s = experiment.runtime.checkpoint_every_s
    saving = Checkpoints(tracked.folder / CHECKPOINTS, every_s, data.total_images, config, stop)
    averaging = _averaging(module.recipe)
    held_out = faces_for_sample_grids(faces, splits)
    samples = Samples(record.sample_grid, held_out, data.total_images, averaging)
    # In the order they must be called.
    averagings = [] if averaging is None else [averaging]
    callbacks = [clock, StopOnNaN(), validation, TrainingLog(log), *averagings, samples, progress, saving]
    steps = data.total_images // module.recipe.batch_size
    trainer = settings.make(
        callbacks, steps, has_validation=len(splits.val) > 0, several_losses=not module.automatic_optimization
    )
    with stop.listening():
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    validation.restore_best(module)
    names = REFERENCE_MODELS if isinstance(module, Generative) else ()
    needed = {name: tracked.folder.parent / tracked.need(name) for name in names}
    reports = evaluate(trainer, module, data, experiment.protocol, experiment.generation, needed)
    if rank > 0:
        return None
    further = {"fit/seconds": clock.seconds, "fit/images_per_second": data.total_images / clock.seconds}
    best = validation.best_images_seen
    if best is not None:
        further.update({"fit/best_images_seen": best, **validation.best_metrics})
    record.conclude(module, prepared.metadata, reports, shown(module, module.final_sample_grids, held_out), further)
    weights = "last" if best is None else f"best on validation, after {best:,} images"
    trained = f"{data.total_images:,} images in {clock.seconds:.0f} s; weights: {weights}; {settings.precision}"
    print_summary(console, reports, tracked, trained)
    return Result(
        tracked.id, tracked.folder, {key: value for report in reports for key, value in report.metrics.items()}
    )


def _averaging(recipe: Recipe) -> ExponentialMovingAverage | None:
    if not recipe.ema_half_life_images:
        return None
    return ExponentialMovingAverage(recipe.ema_half_life_images, recipe.batch_size)


def _model_metadata(faces: FaceSet, splits: Splits) -> ModelMetadata:
    num_classes = int(faces.labels[splits.train].max()) + 1  # of a split by people, those of the training
    return ModelMetadata(faces.image_shape, num_classes, tuple(faces.label_names[:num_classes]))


def _make_model(experiment: Experiment, metadata: ModelMetadata) -> FaceModule:
    module = experiment.model(image_shape=metadata.image_shape, num_classes=metadata.num_classes)
    # Settled here, before averaging and optimisers take hold of the weights.
    return module.to(memory_format=torch.channels_last)
