"""Which jobs of a sweep are done, which can go on, and which are to be begun: read from the store."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from facelab.config.identity import config_hash
from facelab.errors import TrackingError
from facelab.runs.resume import CONFIG
from facelab.sweep.plan import Job
from facelab.tracking import ChildRow, TrackedRun

Key = tuple[str, str]


@dataclass(frozen=True)
class Standing:
    """How a job stands before the sweep begins.

    Args:
        job: the job; its config is resolved.
        done: id of the run that finished it, or None.
        begun: the run to go on with, or None.
        replaced: ids of runs that a new one will take the place of.
        older: commit of the finished run, where it is not the one of now.
    """

    job: Job
    done: str | None = None
    begun: TrackedRun | None = None
    replaced: list[str] = field(default_factory=list)
    older: str = ""


def standings(
    jobs: Iterable[Job], rows: Iterable[ChildRow], runs_folder: Path, commit: str, stale: Literal["keep", "redo"]
) -> list[Standing]:
    """How each job stands.

    A run belongs to a job if it has its point; it does for the job if it has its config hash too. Of those that did not
    finish, the newest goes on, whatever ended it, if its files are here.

    Args:
        jobs: with resolved configs.
        rows: all runs of the sweep so far, the oldest first.
        runs_folder: where runs keep their files.
        commit: of now; empty outside git.
        stale: what to do about runs that an older commit finished.
    """
    kin: dict[str, list[ChildRow]] = defaultdict(list)
    for row in rows:
        if not row.superseded_by:
            kin[_text(row.point)].append(row)
    return [_standing(job, kin[_text(job.point)], runs_folder, commit, stale) for job in jobs]


def _standing(
    job: Job, kin: list[ChildRow], runs_folder: Path, commit: str, stale: Literal["keep", "redo"]
) -> Standing:
    same = [row for row in reversed(kin) if row.config_hash == config_hash(job.config)]
    everyone = [row.id for row in kin]
    for row in same:
        if row.status == "FINISHED" or _finished_unheard(runs_folder / row.id):
            older = row.commit if commit and row.commit and row.commit != commit else ""
            if older and stale == "redo":
                return Standing(job, replaced=everyone, older=older)
            return Standing(job, done=row.id, replaced=[run for run in everyone if run != row.id], older=older)
    for row in same:
        run = _opened(runs_folder / row.id)
        if run is not None and not (stale == "redo" and commit and row.commit != commit):
            return Standing(job, begun=run, replaced=[other for other in everyone if other != row.id])
    return Standing(job, replaced=everyone)


def never_lived(row: ChildRow, runs_folder: Path) -> bool:
    """Whether a sweep was killed between making the run in the store and making its files."""
    return row.status == "RUNNING" and not row.metrics and not (runs_folder / row.id / CONFIG).is_file()


def _finished_unheard(folder: Path) -> bool:
    """Killed after the last word was written down and before it was delivered."""
    run = _opened(folder)
    return run is not None and run.ended == "FINISHED"


def _opened(folder: Path) -> TrackedRun | None:
    try:
        return TrackedRun.open(folder) if (folder / CONFIG).is_file() else None
    except TrackingError:
        return None


def _text(point: Mapping[str, str]) -> str:
    return json.dumps(dict(point), sort_keys=True)
