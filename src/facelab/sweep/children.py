"""Match the jobs of a sweep with its recorded runs: done, resumable or missing."""

import dataclasses
import functools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from facelab.errors import TrackingError
from facelab.models.trained import CONFIG
from facelab.runs.begin import resolved
from facelab.runs.resume import read_config
from facelab.sweep.context import Context
from facelab.sweep.executor import Demand
from facelab.sweep.plan import Job
from facelab.sweep.registered import refuse_changed_configs
from facelab.sweep.study import Trial
from facelab.tracking import ChildRow, SweepRow, TrackedRun, Watch, children, commit_of_now, remove, supersede


@dataclass(frozen=True)
class Standing:
    """State of a job before the sweep starts.

    Args:
        job: the job; its config is resolved.
        done: id of its finished run, or None.
        begun: the run to resume, or None.
        replaced: ids of the runs that its run replaces at once: unfinished ones, or all others if it has finished.
        outlived: ids of finished runs that its run replaces once it has finished itself.
        older: commit of the finished run, if it is not the current one.
    """

    job: Job
    done: str | None = None
    begun: TrackedRun | None = None
    replaced: list[str] = field(default_factory=list)
    outlived: list[str] = field(default_factory=list)
    older: str = ""

    @functools.cached_property
    def demand(self) -> Demand:
        """Resources of the run: one that is resumed keeps its own trainer, whatever the job's config is now."""
        if self.begun is None:
            return Demand.of(self.job.config)
        return Demand.of({**self.job.config, "trainer": read_config(self.begun.folder)["trainer"]})


class Children:
    """Recorded runs of a sweep. Incomplete ones, left by a kill during their creation, are removed.

    Args:
        context: of the sweep.
        row: its parent run.

    Raises:
        TrackingError: the store cannot be read or written.
    """

    def __init__(self, context: Context, row: SweepRow) -> None:
        self._context, self._threads = context, row.threads
        self._rows: dict[str, ChildRow] = {}
        for child in children(context.store, row.id):
            if _never_lived(child, context.runs_folder):
                remove(context.store, child.id)
            else:
                self._rows[child.id] = child

    def standings(self, jobs: Sequence[Job]) -> list[Standing]:
        """State of each job; replaced runs are marked in the store.

        Raises:
            ConfigError: a run of a registered study has finished with another config.
        """
        context = self._context
        whole = [self.settled(job) for job in jobs]
        if context.settings.study is not None:
            refuse_changed_configs(context.settings.study, whole, self._rows.values(), context.runs_folder)
        stale = context.settings.stale
        found = standings(whole, self._rows.values(), context.runs_folder, commit_of_now(), stale)
        for standing in found:
            if standing.done:
                self._deliver(standing.done)
                if standing.replaced:
                    supersede(context.store, standing.replaced, standing.done)
        return found

    def of_trial(self, trial: Trial) -> Standing:
        """State of a trial.

        Raises:
            ConfigError: its config is invalid.
        """
        job = self.settled(self._context.plan.compose(trial.overrides, trial.number))
        own = [row for row in self._rows.values() if row.trial == trial.number]
        return standings([job], own, self._context.runs_folder, commit="", stale="keep")[0]

    def final_values(self, run_id: str) -> Mapping[str, float]:
        """Last metrics of a finished run by name, including records not delivered yet."""
        watch = Watch(self._context.runs_folder / run_id)
        watch.look()
        self._deliver(run_id)
        return {**self._rows[run_id].metrics, **watch.latest}

    def settled(self, job: Job) -> Job:
        """A job with its config resolved; threads default to those of the sweep."""
        trainer = job.config["trainer"]
        config = {**job.config, "trainer": {**trainer, "threads": trainer["threads"] or self._threads}}
        return dataclasses.replace(job, config=resolved(config, elsewhere=self._context.place.elsewhere))

    def _deliver(self, run_id: str) -> None:
        folder = self._context.runs_folder / run_id
        if folder.is_dir():
            TrackedRun.open(folder).settle()


def standings(
    jobs: Iterable[Job], rows: Iterable[ChildRow], runs_folder: Path, commit: str, stale: Literal["keep", "redo"]
) -> list[Standing]:
    """State of each job.

    A run belongs to a job if it has the same point, and can be used for it if it has the same config hash too, as have
    the runs that it needs. The newest unfinished run is resumed, whatever ended it, if its files are on this machine.

    Args:
        jobs: with resolved configs.
        rows: all recorded runs of the sweep, the oldest first.
        runs_folder: where runs keep their files.
        commit: the current one; empty outside git.
        stale: whether to keep or redo runs finished by an older commit.
    """
    kin: dict[str, list[ChildRow]] = defaultdict(list)
    for row in rows:
        if not row.superseded_by:
            kin[_text(row.point)].append(row)
    return [_standing(job, kin[_text(job.point)], runs_folder, commit, stale) for job in jobs]


def _standing(
    job: Job, kin: list[ChildRow], runs_folder: Path, commit: str, stale: Literal["keep", "redo"]
) -> Standing:
    same = [row for row in reversed(kin) if job.made(row)]
    finished = [row.id for row in kin if row.status == "FINISHED" or _finished_unheard(runs_folder / row.id)]
    done = next((row for row in same if row.id in finished), None)
    older = done.commit if done and commit and done.commit and done.commit != commit else ""
    if done and not (older and stale == "redo"):
        return Standing(job, done=done.id, replaced=[row.id for row in kin if row.id != done.id], older=older)
    unfinished = [row for row in same if row.id not in finished]
    current = [row for row in unfinished if not (stale == "redo" and commit and row.commit != commit)]
    begun = next((run for row in current if (run := _opened(runs_folder / row.id)) is not None), None)
    replaced = [row.id for row in kin if row.id not in (*finished, begun.id if begun else "")]
    return Standing(job, None, begun, replaced, finished, older)


def _never_lived(row: ChildRow, runs_folder: Path) -> bool:
    """Whether a sweep was killed between creating the run in the store and its files."""
    return row.status == "RUNNING" and not row.metrics and not (runs_folder / row.id / CONFIG).is_file()


def _finished_unheard(folder: Path) -> bool:
    """Whether a run finished, but was killed before this reached the store."""
    run = _opened(folder)
    return run is not None and run.ended == "FINISHED"


def _opened(folder: Path) -> TrackedRun | None:
    try:
        return TrackedRun.open(folder) if (folder / CONFIG).is_file() else None
    except TrackingError:
        return None


def _text(point: Mapping[str, str]) -> str:
    return json.dumps(dict(point), sort_keys=True)
