"""Dependencies: runs that another run needs, found among finished runs or trained first."""

import functools
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from facelab.config.identity import config_hash
from facelab.config.needs import Need
from facelab.errors import CheckpointError, TrackingError
from facelab.models.finished import DOWNLOADED
from facelab.models.trained import WEIGHTS
from facelab.models.transfer import weights_digest
from facelab.runs.begin import resolved
from facelab.runs.resume import CHECKPOINTS
from facelab.tracking import (
    INIT_FROM_SHA256,
    NEEDS,
    SPLIT_FINGERPRINT,
    Store,
    TrackedRun,
    find_finished,
    find_unfinished,
    is_run_id,
    tag_recorded,
)
from facelab.training.checkpoint import newest

_PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class Dependency:
    """A run that another run depends on.

    Args:
        config: its checked config.
        choices: the file chosen in each config group.
        need: what the run that depends on it asks of it.
        dependencies: the runs that it depends on itself, by role.
    """

    config: dict[str, Any]
    choices: Mapping[str, str]
    need: Need
    dependencies: Mapping[str, "Dependency"] = field(default_factory=dict)

    def with_threads(self, threads: int | None) -> "Dependency":
        """The same with as many CPU threads as the run that needs it, which may have to leave cores to others.

        Args:
            threads: of that run; its own config may set another number.
        """
        trainer = self.config["trainer"]
        return replace(self, config={**self.config, "trainer": {**trainer, "threads": trainer["threads"] or threads}})

    @property
    def hashes(self) -> set[str]:
        """Config hashes that its run may record: several if the machine that trains it chooses the precision."""
        trainer = {**self.config["trainer"], "accelerator": "cpu"}  # no part of the hash, and every machine has one
        precisions = _PRECISIONS if trainer["precision"] == "auto" else (trainer["precision"],)
        return {
            config_hash(resolved({**self.config, "trainer": {**trainer, "precision": precision}}))
            for precision in precisions
        }


@dataclass(frozen=True)
class TrainedOn:
    """What a run was trained on besides its config.

    Args:
        faces: fingerprint of the images.
        split: fingerprint of their split.
        weights: as `initial_weights` returns them.
    """

    faces: str
    split: str
    weights: str | None = None

    def are_of(self, run: TrackedRun) -> bool:
        """Whether a run has recorded these; runs of older versions recorded no split."""
        split, weights = run.recorded_tag(SPLIT_FINGERPRINT), run.recorded_tag(INIT_FROM_SHA256)
        return (
            run.recorded_tag("data.fingerprint") == self.faces
            and split in (None, self.split)
            and (self.weights is None or weights in (None, self.weights))
        )


def initial_weights(config: Mapping[str, Any]) -> str | None:
    """SHA-256 of the weights that `model.init_from` names by a path, whose contents may change.

    Args:
        config: of a run, plain dicts and lists.

    Returns:
        None without `init_from`, if it is the id of a run, or if there is no such file.
    """
    given = config["model"].get("init_from")
    if given is None or is_run_id(given):
        return None
    path = Path(given) / WEIGHTS if Path(given).is_dir() else Path(given)
    return _digest(path, path.stat().st_mtime_ns) if path.is_file() else None


@functools.cache
def _digest(file: Path, changed_ns: int) -> str:
    return weights_digest(file)


def find_or_train(
    name: str,
    config_hash: str,
    on: TrainedOn,
    store: Store,
    runs_folder: Path,
    train: Callable[[TrackedRun | None], Path],
) -> Path:
    """Find a finished run by its config hash, resume an interrupted one, or train a new one; returns its folder.

    One process trains it while others wait and then use the same run.

    Args:
        name: shown in messages.
        config_hash: of the dependency.
        on: the images, split and initial weights it must have been trained on.
        store: the store to search.
        runs_folder: where runs keep their files.
        train: called if no such run has finished, with an interrupted one that has a checkpoint, or None; returns the
            folder of the run that has then finished.

    Raises:
        FacelabError: the store cannot be read, or training failed.
    """
    runs_folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(runs_folder / f"needed-{config_hash[:16]}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"Waiting for another process to train the {name} that this run depends on.", flush=True)
        lock.acquire()
    try:
        for run_id in find_finished(store, config_hash):
            folder = (runs_folder / run_id).absolute()
            if (folder / WEIGHTS).is_file() and on.are_of(TrackedRun.open(folder)):
                return folder
        interrupted = _interrupted(config_hash, on, store, runs_folder)
        what = "Training it first" if interrupted is None else f"Resuming it (run {interrupted.id}) first"
        print(f"This run depends on a trained {name}. {what}; later runs reuse it.", flush=True)
        return train(interrupted)
    finally:
        lock.release()


def _interrupted(config_hash: str, on: TrainedOn, store: Store, runs_folder: Path) -> TrackedRun | None:
    """The newest run of a config that was stopped or killed, has a usable checkpoint, and that no process trains."""
    for run_id in find_unfinished(store, config_hash):
        try:
            run = TrackedRun.open((runs_folder / run_id).absolute())
            with run.alone():
                checkpoint, _ = newest(run.folder / CHECKPOINTS)
        except (TrackingError, CheckpointError):
            continue
        if checkpoint is not None and run.ended in (None, "KILLED") and on.are_of(run):
            return run
    return None


def record_lineage(name: str, needing: TrackedRun, needed_folder: Path, needed_hash: str, store: Store) -> None:
    """Tag both runs with each other's id.

    Args:
        name: role of the dependency, such as `embedder`.
        needing: the run that has the dependency.
        needed_folder: folder of the dependency.
        needed_hash: config hash of the dependency; metrics of runs whose dependencies differ cannot be compared.
        store: of the dependency, in case its folder was downloaded from it.
    """
    needing.tag(f"{NEEDS}{name}", needed_folder.name)
    needing.tag(f"{NEEDS}{name}.config_hash", needed_hash)
    key = f"needed_by.{needing.id}"
    if needed_folder.parent.name == DOWNLOADED:
        with suppress(TrackingError):  # its record may be deleted, or its store out of reach; its files serve as well
            tag_recorded(store, needed_folder.name, key, name)
    else:
        TrackedRun.open(needed_folder).tag_now(key, name)
