"""Runs that a run needs: found among the finished ones by what they are, or trained first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from facelab.models.trained import WEIGHTS
from facelab.tracking import Store, TrackedRun, find_finished


@dataclass(frozen=True)
class Dependency:
    """A run that another one needs.

    Args:
        config: its own, checked.
        choices: which file of each config group was chosen.
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
    """The folder of a finished run of that hash. One process at a time trains it; others wait and find it.

    Args:
        name: for the message.
        config_hash: of the needed run.
        data_fingerprint: of the images it must have been trained on.
        store: where it is looked up.
        runs_folder: where runs keep their files.
        train: called if there is none; gives the folder of the new run.

    Raises:
        FacelabError: the store cannot be read, or training failed.
    """
    runs_folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(runs_folder / f"needed-{config_hash[:16]}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"Waiting for another process, which trains the {name} that this run needs too.", flush=True)
        lock.acquire()
    try:
        for run_id in find_finished(store, config_hash):
            folder = (runs_folder / run_id).absolute()
            if not (folder / WEIGHTS).is_file():
                continue
            if data_fingerprint == TrackedRun.open(folder).recorded_tag("data.fingerprint"):
                return folder
        print(
            f"This run needs another one, its {name}, which is trained first and then kept for all that need it.",
            flush=True,
        )
        return train()
    finally:
        lock.release()


def record_lineage(name: str, needing: TrackedRun, needed_folder: Path, needed_hash: str) -> None:
    """Tag both runs with each other's id.

    Args:
        name: what the needed run is to the needing one, such as `embedder`.
        needing: the run that needs.
        needed_folder: of the other.
        needed_hash: of the other's config: figures of runs with different ones cannot be compared.
    """
    needing.tag(f"needs.{name}", needed_folder.name)
    needing.tag(f"needs.{name}.config_hash", needed_hash)
    TrackedRun.open(needed_folder).tag_now(f"needed_by.{needing.id}", name)
