"""The only assembler: from a config to data, model, trainer and tracker, and from there to metrics."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from pydantic import Field
from rich.console import Console

from facelab.begin import begin, resolved
from facelab.callbacks.averaging import ExponentialMovingAverage
from facelab.callbacks.checkpoints import Checkpoints
from facelab.callbacks.images_seen import ImagesSeen
from facelab.callbacks.progress import ProgressBar
from facelab.callbacks.samples import Samples, shown
from facelab.callbacks.stop_on_nan import StopOnNaN
from facelab.callbacks.training_log import TrainingLog
from facelab.callbacks.validation import Validation
from facelab.checkpoint import tidy
from facelab.config import build, check, config_hash, configured
from facelab.data.augment import Augmentation
from facelab.data.faces import FaceSet, FaceSource
from facelab.data.module import FaceDataModule
from facelab.data.split import Parts, Split, split
from facelab.errors import CheckpointError, ConfigError, DataError, FacelabError, Interrupted
from facelab.interrupt import StopRequest, die_with_parent
from facelab.judge import NEEDED, exhibited_faces, judge
from facelab.launch import launch
from facelab.models.base import FaceModule, Generative
from facelab.needs import Need, find_or_train, record_lineage
from facelab.protocols.base import Protocol
from facelab.protocols.generation import GenerationSettings
from facelab.protocols.inception import load_inception
from facelab.recipe import Recipe
from facelab.record import RunRecord
from facelab.resume import CHECKPOINTS, InterruptedRun, find, reopen
from facelab.summary import print_summary
from facelab.sweep.executor import Place
from facelab.sweep.search import Search
from facelab.sweep.settings import SweepSettings
from facelab.tracking import NEEDS, Store, TrackedRun
from facelab.trained import ModelFacts, load
from facelab.trainer import TrainerSettings


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
        generation: how the faces of a generative model are judged; others are not touched by it.
        runtime: what does not change results.
        seed: of initial weights, order, augmentation and dropout; the split has a seed of its own.
        name: of the run on MLflow's page; null for one made of the choices.
        resume: id of a run to go on with, in place of a new one; its own config holds.
        sweep: how the runs of a sweep are held together; a single run is not touched by it.
        executor: where they run.
        search: how a search draws its trials; null for all combinations of the swept values.
    """

    data: FaceSource
    split: Split
    augment: Augmentation
    model: Callable[..., FaceModule]
    trainer: TrainerSettings
    tracking: Store
    protocol: Protocol
    generation: GenerationSettings
    runtime: Runtime
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    name: str | None = None
    resume: str | None = None
    sweep: SweepSettings | None = None
    executor: Place | None = None
    search: Search | None = None


@dataclass(frozen=True)
class Result:
    """What a training run leaves behind: its id in MLflow, its folder, and its final metrics."""

    run_id: str
    folder: Path
    metrics: Mapping[str, float]


def train(config: Mapping[str, Any], choices: Mapping[str, str], needs: Mapping[str, Need] | None = None) -> Result:
    """Train one model and judge it; everything is recorded.

    Args:
        config: a checked config, plain dicts and lists.
        choices: which file of each config group was chosen, such as `model: cnn`.
        needs: further runs that this one needs, by what they are to it; trained first if there are none yet.

    Raises:
        FacelabError: something the user can mend; nothing is recorded if it shows before training.
        KeyboardInterrupt: the user stopped it; the run is closed as KILLED and can be resumed.
    """
    kept = resolved(config)
    prepared = _Prepared.of(kept)  # here too where processes are started: bad input shows before they are
    tracked = begin(kept, choices)
    return _live(prepared, kept, tracked, checkpoint=None, needs=needs or {})


def resume(
    run_id: str,
    composed: Mapping[str, Any],
    default: Mapping[str, Any],
    needs_of: Callable[[Mapping[str, Any]], Mapping[str, Need]],
) -> Result:
    """Go on with a run that was interrupted, from its newest checkpoint, or from the start if it has none.

    Args:
        run_id: as in MLflow.
        composed: the config as the command line has it now.
        default: the config as it is without any argument; what differs from it has been asked for.
        needs_of: the further runs that a run of a config needs; asked if it was interrupted before it had them.

    Raises:
        FacelabError: there is no such run, it has finished, or its config or checkpoints cannot be used.
        KeyboardInterrupt: the user stopped it again.
    """
    interrupted = find(run_id, composed, default)
    check(interrupted.config, Experiment)
    return _go_on(interrupted, needs_of(interrupted.config))


def run_job(folder: Path, runtime: Mapping[str, Any], needs: Mapping[str, Need]) -> Result:
    """Train a run that was begun by a sweep, or go on with it.

    Args:
        folder: of the run.
        runtime: values of `runtime` that hold from now on.
        needs: further runs that this one needs.

    Raises:
        FacelabError: as for `train`.
        KeyboardInterrupt: it was told to stop; the run is closed as KILLED and can be resumed.
    """
    tracked = TrackedRun.open(folder)
    try:
        interrupted = reopen(tracked, runtime)
    except CheckpointError as error:
        print(f"Note: {error} The run begins anew.", file=sys.stderr)
        shutil.rmtree(folder / CHECKPOINTS)
        interrupted = reopen(tracked, runtime)
    return _go_on(interrupted, needs)


def _go_on(interrupted: InterruptedRun, needs: Mapping[str, Need]) -> Result:
    prepared = _Prepared.of(interrupted.config)
    tracked, checkpoint = interrupted.tracked, interrupted.checkpoint
    if interrupted.data_fingerprint not in (None, prepared.faces.fingerprint):
        raise DataError(
            f"resume={tracked.id}: the pictures of {prepared.faces.name} have changed since the run began. "
            "Bring back those it began with, or start a new run."
        )
    for fault in interrupted.faults:
        print(f"Note: {fault}; going on from the one before.", file=sys.stderr)
    if checkpoint:
        total = f"{prepared.data.total_images:,} images"
        print(f"Going on with {tracked.name} after {checkpoint.images_seen:,} of {total}.", flush=True)
    return _live(prepared, interrupted.config, tracked, checkpoint.path if checkpoint else None, needs)


def _live(
    prepared: "_Prepared",
    config: Mapping[str, Any],
    tracked: TrackedRun,
    checkpoint: Path | None,
    needs: Mapping[str, Need],
) -> Result:
    """Train in this process or in several, and close the run by how that ends."""
    stop, devices = StopRequest(), prepared.settings.devices
    with stop.installed(), tracked.delivering(_warn), _closing(tracked):
        tidy(tracked.folder / CHECKPOINTS, keep=checkpoint)
        if tracked.ended:
            tracked.status("RUNNING")
        _fetch_needs(needs, prepared, config, tracked)
        if checkpoint is None:
            RunRecord(tracked, prepared.faces).begin(
                prepared.data.total_images, prepared.parts, prepared.data.first_batch()
            )
        if devices == 1:
            result = _fit(prepared, config, tracked, checkpoint, stop)
        else:
            result = launch(devices, _fit_as_rank, config, tracked.folder, checkpoint)
    shutil.rmtree(tracked.folder / CHECKPOINTS)  # a finished run has its weights; nobody goes on with it
    assert result is not None, "the first process always has a result"
    return result


def _fetch_needs(
    needs: Mapping[str, Need], prepared: "_Prepared", config: Mapping[str, Any], tracked: TrackedRun
) -> None:
    """Find or train the runs that this one needs and has not had so far, and see that all can be used."""
    for name, need in needs.items():
        if tracked.recorded_tag(f"{NEEDS}{name}") is None:
            folder, its_hash = _needed_run(name, need, prepared, config)
            record_lineage(name, tracked, folder, its_hash)
        load(tracked.folder.parent / tracked.need(name))  # what is wrong with it shows before training


def _needed_run(name: str, need: Need, prepared: "_Prepared", config: Mapping[str, Any]) -> tuple[Path, str]:
    """Folder and config hash of a run that this one needs; one on the same data must have seen the same pictures."""
    experiment = prepared.experiment
    fingerprint = prepared.faces.fingerprint if need.config["data"] == config["data"] else None
    its_hash = config_hash(resolved(need.config))
    runs_folder = Path(experiment.runtime.runs_folder)

    def train_it() -> Path:
        try:
            return train(need.config, need.choices).folder
        except FacelabError as error:
            raise type(error)(f"generation.{name}, a run that this one needs: {error}") from error

    what, store = name.replace("_", " "), experiment.tracking
    return find_or_train(what, its_hash, fingerprint, store, runs_folder, train_it), its_hash


@dataclass(frozen=True)
class _Prepared:
    """Everything a run needs, made and checked; nothing is recorded yet."""

    experiment: Experiment
    settings: TrainerSettings
    faces: FaceSet
    parts: Parts
    facts: ModelFacts
    module: FaceModule
    data: FaceDataModule

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "_Prepared":
        experiment = Experiment(**build(config))
        settings = experiment.trainer.resolved()
        experiment.runtime.check()
        faces = experiment.data.load()
        parts = split(faces, experiment.split)
        experiment.protocol.check(parts, faces)
        experiment.augment.check(faces.pixels[int(parts.train[0])])
        pl.seed_everything(experiment.seed, verbose=False)
        facts = _model_facts(faces, parts)
        module = configured("model", lambda: _make_model(experiment, facts))
        configured(module.optimizer_keys, module.configure_optimizers)
        if isinstance(module, Generative):
            experiment.generation.check(parts)
            if experiment.generation.inception is not None:
                load_inception(experiment.generation.inception)  # what is wrong with it shows before training
        recipe, workers = module.recipe, experiment.runtime.workers
        if recipe.batch_size % settings.devices:
            raise ConfigError(
                f"model.recipe.batch_size={recipe.batch_size} cannot be shared evenly by "
                f"trainer.devices={settings.devices} processes; choose a multiple."
            )
        total_images = recipe.total_images(len(parts.train))
        data = FaceDataModule(
            faces,
            parts,
            experiment.augment,
            recipe.batch_size,
            total_images,
            experiment.seed,
            workers,
            module.needs_originals,
        )
        return cls(experiment, settings, faces, parts, facts, module, data)


def _fit_as_rank(config: Mapping[str, Any], folder: Path, checkpoint: Path | None) -> Result | None:
    die_with_parent()
    stop = StopRequest(patient=True)
    with stop.installed():
        return _fit(_Prepared.of(config), config, TrackedRun.open(folder), checkpoint, stop)


def _fit(
    prepared: _Prepared, config: Mapping[str, Any], tracked: TrackedRun, checkpoint: Path | None, stop: StopRequest
) -> Result | None:
    """One process's share of a run; all but the first return None."""
    experiment, settings, faces = prepared.experiment, prepared.settings, prepared.faces
    parts, module, data = prepared.parts, prepared.module, prepared.data
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
    held_out = exhibited_faces(faces, parts)
    samples = Samples(record.exhibit, held_out, data.total_images, averaging)
    # In the order they must be called.
    averagings = [] if averaging is None else [averaging]
    callbacks = [clock, StopOnNaN(), validation, TrainingLog(log), *averagings, samples, progress, saving]
    steps = data.total_images // module.recipe.batch_size
    trainer = settings.make(
        callbacks, steps, has_validation=len(parts.val) > 0, several_losses=not module.automatic_optimization
    )
    with stop.listening():
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    validation.restore_best(module)
    needed = {name: tracked.folder.parent / tracked.need(name) for name in NEEDED if isinstance(module, Generative)}
    reports = judge(trainer, module, data, experiment.protocol, experiment.generation, needed)
    if rank > 0:
        return None
    further = {"fit/seconds": clock.seconds, "fit/images_per_second": data.total_images / clock.seconds}
    best = validation.best_images_seen
    if best is not None:
        further.update({"fit/best_images_seen": best, **validation.best_metrics})
    record.conclude(module, prepared.facts, reports, shown(module, module.closing_exhibits, held_out), further)
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


def _model_facts(faces: FaceSet, parts: Parts) -> ModelFacts:
    num_classes = int(faces.labels[parts.train].max()) + 1  # of a split by people, those of the training
    return ModelFacts(faces.image_shape, num_classes, tuple(faces.label_names[:num_classes]))


def _make_model(experiment: Experiment, facts: ModelFacts) -> FaceModule:
    module = experiment.model(image_shape=facts.image_shape, num_classes=facts.num_classes)
    # Settled here, before averaging and optimisers take hold of the weights.
    return module.to(memory_format=torch.channels_last)


@contextmanager
def _closing(tracked: TrackedRun) -> Iterator[None]:
    """Close the run by how its block ends."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as error:
        tracked.status("KILLED", "interrupted")
        _warn(f"Go on with: python train.py resume={tracked.id}")
        raise KeyboardInterrupt from error
    except BaseException as error:
        tracked.status("FAILED", f"{type(error).__name__}: {error}")
        raise
    tracked.status("FINISHED")


def _warn(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
