"""Dependencies: runs that another run needs, found among finished runs or trained first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from facelab.models.trained import WEIGHTS
from facelab.tracking import Store, TrackedRun, find_finished


@dataclass(frozen=True)
class Dependency:
    """A run that another run depends on.

    Args:
        config: its checked config.
        choices: the file chosen in each config group.
    """

    config: dict[str, Any]
    choices: Mapping[str, str]


def find_or_train(
    name: str,
    config_hash: str,
    data_fingerprint: str,
    store: Store,
    runs_folder: Path,
    train: Callable[[], Path],
) -> Path:
    """Find a finished run by its config hash, or train it; returns its folder.

    One process trains it while others wait and then use the same run.

    Args:
        name: shown in messages.
        config_hash: of the dependency.
        data_fingerprint: of the images it must have been trained on.
        store: the store to search.
        runs_folder: where runs keep their files.
        train: called if no such run exists; returns the folder of the new run.

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
            if not (folder / WEIGHTS).is_file():
                continue
            if data_fingerprint == TrackedRun.open(folder).recorded_tag("data.fingerprint"):
                return folder
        print(f"This run depends on a trained {name}. Training it first; later runs reuse it.", flush=True)
        return train()
    finally:
        lock.release()


def record_lineage(name: str, needing: TrackedRun, needed_folder: Path, needed_hash: str) -> None:
    """Tag both runs with each other's id.

    Args:
        name: role of the dependency, such as `embedder`.
        needing: the run that has the dependency.
        needed_folder: folder of the dependency.
        needed_hash: config hash of the dependency; metrics of runs whose dependencies differ cannot be compared.
    """
    needing.tag(f"needs.{name}", needed_folder.name)
    needing.tag(f"needs.{name}.config_hash", needed_hash)
    TrackedRun.open(needed_folder).tag_now(f"needed_by.{needing.id}", name)
