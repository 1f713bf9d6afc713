"""Train or resume a run: from a config to recorded metrics."""

import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from facelab.config.build import build
from facelab.config.identity import config_hash
from facelab.data.faces import FaceSet
from facelab.data.image_list import ImageList
from facelab.data.splits.base import prepare
from facelab.errors import CheckpointError, ConfigError, DataError, FacelabError
from facelab.models.finished import find_run
from facelab.models.trained import load
from facelab.models.transfer import find_weights, weights_digest
from facelab.runs.begin import begin, resolved
from facelab.runs.closing import recorded, warn
from facelab.runs.dependencies import Dependency, TrainedOn, find_or_train, initial_weights, record_lineage
from facelab.runs.fit import Result, dependency_folders, fit, fit_as_rank
from facelab.runs.generators import check_needed, find_generator
from facelab.runs.near_duplicates import FILE as NEAR_DUPLICATES
from facelab.runs.near_duplicates import find_near_duplicates
from facelab.runs.origins import MANIFEST, images_used, listed, manifests
from facelab.runs.prepare import Prepared
from facelab.runs.record import RunRecord
from facelab.runs.resume import CHECKPOINTS, InterruptedRun, find, read_config, reopen
from facelab.runs.seen import refuse_familiar, seen_before
from facelab.runs.synthetic import SHEET, synthetic_sheet, with_synthetic
from facelab.synthetic import GeneratedFaces
from facelab.synthetic.generated import ROLES
from facelab.system import training_command
from facelab.tracking import INIT_FROM_SHA256, SPLIT_FINGERPRINT, Store, TrackedRun, recorded_run
from facelab.training.checkpoint import set_aside, tidy
from facelab.training.interrupt import StopRequest
from facelab.training.launch import launch


def train(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    dependencies: Mapping[str, Dependency] | None = None,
    command: str = "",
    needed: bool = False,
) -> Result:
    """Train, evaluate and record one model.

    Args:
        config: a checked config, plain dicts and lists.
        choices: the file chosen in each config group, such as `model: cnn`.
        dependencies: runs that this run depends on, by role; trained first if they do not exist.
        command: the command line that trains it, for its description; empty if there is none.
        needed: whether it is trained for another run, which depends on it.

    Raises:
        FacelabError: an error the user can fix; nothing is recorded if it occurs before training.
        KeyboardInterrupt: the user stopped it; the run is closed as KILLED and can be resumed.
    """
    kept = resolved(config)
    prepared = Prepared.of(kept)  # also with several processes: errors appear before they start
    _check_origins(prepared, kept, dependencies or {})
    tracked = begin(kept, choices, command=command)
    return _live(prepared, kept, tracked, None, dependencies or {}, needed)


def resume(
    run_id: str,
    composed: Mapping[str, Any],
    default: Mapping[str, Any],
    typed: Collection[str],
    dependencies_of: Callable[[Mapping[str, Any]], Mapping[str, Dependency]],
) -> Result:
    """Resume an interrupted run from its newest checkpoint, or from the start if it has none.

    Args:
        run_id: as in MLflow.
        composed: the config composed from the current command line, checked.
        default: the config composed without arguments.
        typed: keys and groups typed on the command line.
        dependencies_of: returns the dependencies of a run with a given config.

    Raises:
        FacelabError: there is no such run, it has finished, the command line asks for another config, or its config or
            checkpoints cannot be used.
        KeyboardInterrupt: the user stopped it again.
    """
    interrupted = find(run_id, composed, default, typed)
    return _go_on(interrupted, dependencies_of(interrupted.config))


def run_job(folder: Path, runtime: Mapping[str, Any], dependencies: Mapping[str, Dependency]) -> Result:
    """Train or resume a run created by a sweep.

    Args:
        folder: of the run.
        runtime: values that replace those of its `runtime`.
        dependencies: runs that this run depends on, by role.

    Raises:
        FacelabError: as for `train`.
        KeyboardInterrupt: it was stopped; the run is closed as KILLED and can be resumed.
    """
    tracked = TrackedRun.open(folder)
    try:
        interrupted = reopen(tracked, runtime)
    except CheckpointError as error:
        print(f"Note: {error} The run restarts from scratch; the files are renamed to .unusable.", file=sys.stderr)
        set_aside(folder / CHECKPOINTS)
        interrupted = reopen(tracked, runtime)
    return _go_on(interrupted, dependencies)


def _go_on(interrupted: InterruptedRun, dependencies: Mapping[str, Dependency], needed: bool = False) -> Result:
    prepared = Prepared.of(interrupted.config)
    _check_origins(prepared, interrupted.config, dependencies)
    tracked, checkpoint = interrupted.tracked, interrupted.checkpoint
    if interrupted.data_fingerprint not in (None, prepared.faces.fingerprint):
        raise DataError(
            f"resume={tracked.id}: the images of {prepared.faces.name} have changed since the run started. "
            "Restore the original images, or start a new run."
        )
    if tracked.recorded_tag(SPLIT_FINGERPRINT) not in (None, prepared.splits.fingerprint(prepared.faces)):
        raise DataError(
            f"resume={tracked.id}: the split of {prepared.faces.name} has changed since the run started: other images "
            "are for training, validation or test. Restore the file that the split comes from, such as the column "
            "`part` of a CSV file or the list of split.pairs, or start a new run."
        )
    for fault in interrupted.faults:
        print(f"Note: {fault}; using the previous checkpoint.", file=sys.stderr)
    if checkpoint:
        total = f"{prepared.data.total_images:,} images"
        trained = checkpoint.images_seen >= prepared.data.total_images
        rest = "Training is complete; evaluating." if trained else ""
        print(f"Resuming {tracked.name} after {checkpoint.images_seen:,} of {total}. {rest}".rstrip(), flush=True)
    return _live(prepared, interrupted.config, tracked, checkpoint.path if checkpoint else None, dependencies, needed)


def _check_origins(prepared: Prepared, config: Mapping[str, Any], dependencies: Mapping[str, Dependency]) -> None:
    """Check what the run learns from beside its own images, before anything is trained or recorded."""
    images_used(config, prepared.experiment.data, prepared.faces, prepared.splits)
    check_needed(dependencies, prepared.experiment.data, prepared.faces, prepared.splits)


def _live(
    prepared: "Prepared",
    config: Mapping[str, Any],
    tracked: TrackedRun,
    checkpoint: Path | None,
    dependencies: Mapping[str, Dependency],
    needed: bool,
) -> Result:
    """Train in one or several processes, and close the run with the status of the outcome."""
    stop, devices = StopRequest(), prepared.settings.devices
    advice = f"To resume: {training_command()} resume={tracked.id}"
    if needed:
        advice = f"Run {tracked.id} goes on when the run that depends on it is resumed, or its command repeated."
    with recorded(tracked, stop, advice):
        tidy(tracked.folder / CHECKPOINTS, keep=checkpoint)
        _fetch_dependencies(dependencies, prepared, config, tracked)
        prepared.settings.use_threads()  # their number changes rounding, and so the generated faces
        prepared = with_synthetic(prepared, tracked, dependency_folders(tracked))
        if checkpoint is None:
            _record_data(prepared, config, tracked)
        if devices == 1:
            result = fit(prepared, config, tracked, checkpoint, stop)
        else:
            result = launch(devices, fit_as_rank, config, tracked.folder, checkpoint)
    # A finished run has its weights and cannot be resumed. A model that is fitted once has no checkpoints.
    shutil.rmtree(tracked.folder / CHECKPOINTS, ignore_errors=True)
    assert result is not None, "the first process always has a result"
    return result


def _record_data(prepared: Prepared, config: Mapping[str, Any], tracked: TrackedRun) -> None:
    """Record the data before the first step, and tell about near-duplicates in two splits."""
    record = RunRecord(tracked, prepared.faces, prepared.opening)
    first_batch, total = prepared.data.first_batch(), prepared.data.total_images
    transfer = prepared.module.transfer
    if transfer is not None and transfer.init_from is not None:
        weights = find_weights(transfer.init_from, tracked.folder.parent, prepared.experiment.tracking)
        tracked.tag(INIT_FROM_SHA256, weights_digest(weights))
    generators = dict.fromkeys(manifest["run"] for manifest in manifests(prepared.experiment.data))
    if generators:
        tracked.tag("data.generated_by", " ".join(generators))
    used = _images_used(prepared, config, tracked)
    record.images(used)
    for sentence in seen_before(prepared.experiment.data, prepared.faces, prepared.splits, used):
        warn(f"Warning: {sentence}")
    if missing := [run_id for run_id in generators if run_id in used.unlisted]:
        warn(
            f"Warning: data: run {', '.join(missing)}, which generated images of {prepared.faces.name} according to "
            f"{MANIFEST}, is not to be found or has changed, so what the images show is unknown. `facelab evaluate` "
            "will refuse to test this run on other data."
        )
    if prepared.plan is not None:
        record.sheet(SHEET, synthetic_sheet(prepared.plan, prepared.data.training_faces))
    record.begin(total, prepared.splits, first_batch, prepared.metrics)
    found = find_near_duplicates(prepared.faces, prepared.splits)
    if found is not None:
        record.near_duplicates(found)
        warn(f"Warning: {found.note} Contact sheet: {tracked.folder / NEAR_DUPLICATES}.png, with a list beside it.")


def _images_used(prepared: Prepared, config: Mapping[str, Any], tracked: TrackedRun) -> ImageList:
    """The images of a run, and those that the runs behind its weights and its faces were trained on."""
    used = images_used(config, prepared.experiment.data, prepared.faces, prepared.splits)
    source = prepared.experiment.synthetic
    for role, folder in dependency_folders(tracked).items():
        if role in ROLES and isinstance(source, GeneratedFaces) and not (role == "generator" and source.run):
            others = role == "generator" and source.has_other_images  # else its own images are those of this run
            its = listed(folder)
            used = used.after(its if others or its is None else its.inherited(), folder.name)
    return used


def _fetch_dependencies(
    dependencies: Mapping[str, Dependency], prepared: "Prepared", config: Mapping[str, Any], tracked: TrackedRun
) -> None:
    """Find or train the missing dependencies of a run, and check that all can be loaded."""
    experiment = prepared.experiment
    source, store = experiment.synthetic, experiment.tracking
    if isinstance(source, GeneratedFaces) and source.run is not None and "generator" not in tracked.needs():
        folder = find_generator(source, tracked.folder.parent, store)
        record_lineage("generator", tracked, folder, config_hash(read_config(folder)), store)
        if recorded_run(store, folder.name) is None:
            warn(
                f"Note: synthetic.run={source.run}: {store.uri} has no such run, or it was deleted there. The files in "
                f"{folder} are used all the same."
            )
    for name, dependency in dependencies.items():
        if name not in tracked.needs():
            folder, its_hash = _dependency_run(name, dependency, prepared, config)
            record_lineage(name, tracked, folder, its_hash, store)
        load(_needed_folder(name, tracked, store))  # raises before training if it is unusable


def _needed_folder(name: str, tracked: TrackedRun, store: Store) -> Path:
    """The folder of a run that this one depends on; downloaded if it is gone.

    Raises:
        ConfigError: it is neither here nor in the store.
        TrackingError: the store cannot be reached or read.
    """
    its_id = tracked.needs()[name]
    try:
        return find_run(its_id, tracked.folder.parent, store, f"needs.{name}")
    except ConfigError as error:
        raise ConfigError(
            f"resume={tracked.id}: the run depends on a trained {name.replace('_', ' ')}, run {its_id}, which is gone "
            f"({error}) Restore the folder {(tracked.folder.parent / its_id).absolute()}, or start a new run, which "
            "trains another one."
        ) from error


def _dependency_run(
    name: str, dependency: Dependency, prepared: "Prepared", config: Mapping[str, Any]
) -> tuple[Path, str]:
    faces = prepared.faces if dependency.config["data"] == config["data"] else None
    dependency = dependency.with_threads(config["trainer"]["threads"])
    experiment = prepared.experiment
    runs_folder = Path(experiment.runtime.runs_folder)
    folder, its_hash = dependency_run(name, dependency, faces, experiment.tracking, runs_folder)
    if dependency.need.of_strangers:
        refuse_familiar(experiment.data, prepared.faces, folder)
    return folder, its_hash


def dependency_run(
    name: str, dependency: Dependency, faces: FaceSet | None, store: Store, runs_folder: Path
) -> tuple[Path, str]:
    """Folder and config hash of a run that another one depends on; it is trained if it does not exist.

    Its images, their split and its initial weights are compared too: files can change while the config stays.

    Args:
        name: role of the dependency.
        dependency: its config.
        faces: its images, if they are loaded already.
        store: the store of the run that has the dependency.
        runs_folder: where runs keep their files.

    Raises:
        FacelabError: the store cannot be read, or training failed.
    """
    if faces is None:
        faces = build({"data": dependency.config["data"]})["data"].load()
    rule = build({"split": dependency.config["split"]})["split"]
    faces, splits = prepare(faces if faces.loaded is None else faces.loaded, rule)
    its_hash = config_hash(resolved(dependency.config))

    def train_it(interrupted: TrackedRun | None) -> Path:
        try:
            if interrupted is None:
                return train(dependency.config, dependency.choices, dependency.dependencies, needed=True).folder
            runtime = dependency.config["runtime"]
            return _go_on(reopen(interrupted, runtime), dependency.dependencies, needed=True).folder
        except FacelabError as error:
            raise type(error)(f"{name}, a run that this one depends on: {error}") from error

    title = name.replace("_", " ")
    on = TrainedOn(faces.fingerprint, splits.fingerprint(faces), initial_weights(dependency.config))
    return find_or_train(title, its_hash, on, store, runs_folder, train_it), its_hash
