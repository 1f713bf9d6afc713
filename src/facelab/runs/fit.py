"""Train and evaluate one model, in this process or as one rank of several."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from facelab.errors import TrainingError
from facelab.models.base import FittedModule, to_float
from facelab.models.finished import folder_here
from facelab.protocols.base import Report
from facelab.runs.evaluate import evaluate, evaluate_validation, faces_for_sample_grids
from facelab.runs.origins import listed
from facelab.runs.prepare import Prepared
from facelab.runs.record import RunRecord
from facelab.runs.resume import CHECKPOINTS
from facelab.runs.seen import seen_before
from facelab.runs.summary import print_summary
from facelab.runs.synthetic import with_synthetic
from facelab.system import die_with_parent, make_console, print_anything
from facelab.tracking import TrackedRun
from facelab.training.callbacks.averaging import ExponentialMovingAverage
from facelab.training.callbacks.checkpoints import Checkpoints
from facelab.training.callbacks.discriminator_won import DiscriminatorWon
from facelab.training.callbacks.images_seen import ImagesSeen
from facelab.training.callbacks.progress import ProgressBar
from facelab.training.callbacks.samples import Samples, shown
from facelab.training.callbacks.stop_on_nan import StopOnNaN
from facelab.training.callbacks.training_log import TrainingLog
from facelab.training.callbacks.validation import Further, Validation
from facelab.training.fitting import fit_once
from facelab.training.interrupt import StopRequest
from facelab.training.trainer import TrainerSettings


@dataclass(frozen=True)
class Result:
    """Result of a training run: its id in MLflow, its folder, and its final metrics."""

    run_id: str
    folder: Path
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of a training in their order; the first three are also read after it."""

    clock: ImagesSeen
    validation: Validation
    won: DiscriminatorWon
    ordered: list[pl.Callback]


def fit_as_rank(config: Mapping[str, Any], folder: Path, checkpoint: Path | None) -> Result | None:
    """Train and evaluate as one of several processes. Arguments and result as for `fit`."""
    die_with_parent()
    print_anything()
    stop = StopRequest(patient=True)
    with stop.installed():
        tracked = TrackedRun.open(folder)
        prepared = with_synthetic(Prepared.of(config), tracked, dependency_folders(tracked))
        return fit(prepared, config, tracked, checkpoint, stop)


def fit(
    prepared: Prepared, config: Mapping[str, Any], tracked: TrackedRun, checkpoint: Path | None, stop: StopRequest
) -> Result | None:
    """Train and evaluate in this process.

    Args:
        prepared: the objects built from the config.
        config: as saved in the run's folder.
        tracked: the run.
        checkpoint: to resume from; None to start from scratch.
        stop: stop request of the user or the system.

    Returns:
        The result on the first process, None on all others.
    """
    module, data = prepared.module, prepared.data
    rank = int(os.environ.get("RANK", 0))
    console = make_console(quiet=rank > 0)
    record = RunRecord(tracked, prepared.faces, prepared.opening)
    callbacks = make_callbacks(prepared, config, record, console, stop)
    trainer = _affordable(prepared, console).make(
        callbacks.ordered,
        data.total_images // module.recipe.batch_size,
        has_validation=len(prepared.splits.val) > 0,
        several_losses=not module.automatic_optimization,
    )
    if isinstance(module, FittedModule):
        remarks = fit_once(module, data, trainer, callbacks.clock, console)
    else:
        _train(prepared, trainer, checkpoint, stop)
        remarks = [] if callbacks.won.remark is None else [callbacks.won.remark]
    callbacks.validation.restore_best(module)
    if rank == 0:
        record.weights(module, prepared.metadata, prepared.experiment.tracking.register)
    folders = dependency_folders(tracked)
    reports = evaluate(trainer, module, data, prepared.protocols, folders, console)
    if rank > 0:
        return None
    return _conclude(prepared, callbacks, record, reports, remarks, console)


def _train(prepared: Prepared, trainer: pl.Trainer, checkpoint: Path | None, stop: StopRequest) -> None:
    """Train by steps, after what is computed and not trained."""
    module, data = prepared.module, prepared.data
    if checkpoint is None:
        module.prepare_training(to_float(batch["image"]) for batch in data.training_images())
    with stop.listening(), _loader_processes_explained(), closing(data):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)


def _affordable(prepared: Prepared, console: Console) -> TrainerSettings:
    """Lower the number of validations, to one at least, so that they take no longer than training.

    A validation image costs about a third of a training image: it needs only the forward pass.
    """
    settings, images = prepared.settings, len(prepared.splits.val)
    most = max(1, 3 * prepared.data.total_images // max(1, images))
    if not images or settings.validations <= most or isinstance(prepared.module, FittedModule):
        return settings
    console.print(
        f"trainer.validations={settings.validations} is lowered to {most}: validating {images:,} images so often would "
        f"take longer than training on {prepared.data.total_images:,} images.",
        highlight=False,
        soft_wrap=True,
    )
    return replace(settings, validations=most)


def make_callbacks(
    prepared: Prepared, config: Mapping[str, Any], record: RunRecord, console: Console, stop: StopRequest
) -> Callbacks:
    """Create the callbacks of a training. Their order matters:

    1. `ImagesSeen` counts images; all others read the count.
    2. `StopOnNaN` ends the run before a non-finite loss is validated, recorded or saved.
    3. `Validation` and `TrainingLog` record metrics, and `DiscriminatorWon` warns. `Validation` must precede the
       averaging, which swaps the averaged weights in before validation and out after the preceding callbacks have run.
    4. `ExponentialMovingAverage` updates the averaged weights.
    5. `Samples` draws its sample grids with the averaged weights.
    6. `ProgressBar` shows the recorded metrics.
    7. `Checkpoints` saves last, once all other callbacks have finished the step.
    """
    experiment, data, module = prepared.experiment, prepared.data, prepared.module
    tracked, rank = record.tracked, int(os.environ.get("RANK", 0))
    progress = ProgressBar(console, data.total_images)

    def log(values: Mapping[str, float], images_seen: int) -> None:
        progress.show(values, images_seen)
        if rank == 0:
            tracked.metrics(values, images_seen)

    clock = ImagesSeen(data.total_images, experiment.seed)
    further = _validation_protocols(prepared, tracked)
    validation = Validation(log, prepared.metadata.num_classes, prepared.criterion, further)
    half_life = module.recipe.ema_half_life_images
    averaging = ExponentialMovingAverage(half_life, module.recipe.batch_size) if half_life else None
    held_out = faces_for_sample_grids(prepared.faces, prepared.splits)
    samples = Samples(record.sample_grid, held_out, data.total_images, averaging)
    every_s = experiment.runtime.checkpoint_every_s
    saving = Checkpoints(tracked.folder / CHECKPOINTS, every_s, data.total_images, config, stop)
    averagings = [] if averaging is None else [averaging]
    won = DiscriminatorWon(partial(console.print, style="yellow", highlight=False, soft_wrap=True))
    ordered = [clock, StopOnNaN(), validation, TrainingLog(log), won, *averagings, samples, progress, saving]
    return Callbacks(clock, validation, won, ordered)


def dependency_folders(tracked: TrackedRun) -> dict[str, Path]:
    """Folders of the runs that a run depends on, by role."""
    runs_folder = tracked.folder.parent
    needs = tracked.needs().items()
    return {name: folder_here(its_id, runs_folder) or runs_folder / its_id for name, its_id in needs}


def _validation_protocols(prepared: Prepared, tracked: TrackedRun) -> Further | None:
    chosen = {name: prepared.protocols[name] for name in prepared.experiment.validation.protocols}
    if not chosen:
        return None
    folders = dependency_folders(tracked)
    return lambda trainer, module, features: evaluate_validation(
        trainer, module, features, prepared.data, chosen, folders
    )


@contextmanager
def _loader_processes_explained() -> Iterator[None]:
    """Turn Lightning's error for a killed loader process into a readable one."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"a data loader process died ({str(error).splitlines()[0].rstrip('. ')}). The usual cause is lack of "
            "memory: make more available, or lower runtime.workers (0 loads in the training process)."
        ) from error


def _conclude(
    prepared: Prepared,
    callbacks: Callbacks,
    record: RunRecord,
    reports: list[Report],
    remarks: list[str],
    console: Console,
) -> Result:
    """Record and print the results."""
    module, data, validation, seconds = prepared.module, prepared.data, callbacks.validation, callbacks.clock.seconds
    further = {"fit/seconds": seconds, "fit/images_per_second": data.total_images / seconds}
    best = validation.best_images_seen
    if best is not None:
        further.update({"fit/best_images_seen": best, **validation.best_metrics})
    held_out = faces_for_sample_grids(prepared.faces, prepared.splits)
    grids = shown(module, module.final_sample_grids, held_out)
    used = listed(record.folder)
    seen = [] if used is None else seen_before(prepared.experiment.data, prepared.faces, prepared.splits, used)
    record.conclude(module.images_seen, reports, grids, further, [*remarks, *seen])
    print_summary(console, reports, record.tracked, {"trained": _length(prepared, best, seconds)})
    metrics = {key: value for report in reports for key, value in report.metrics.items()}
    return Result(record.tracked.id, record.tracked.folder, metrics)


def _length(prepared: Prepared, best: int | None, seconds: float) -> str:
    """How long it trained, and which weights were kept, in words."""
    module, images = prepared.module, f"{prepared.data.total_images:,} images"
    if isinstance(module, FittedModule):
        return f"fitted once to {images} in {seconds:.0f} s"
    weights = "last" if best is None else f"best on validation, after {best:,} images"
    length = module.recipe.length_as_words(len(prepared.splits.train))
    return f"{images} ({length}) in {seconds:.0f} s; weights: {weights}; {prepared.settings.precision}"
