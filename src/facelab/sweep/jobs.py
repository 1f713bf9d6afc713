"""Start, stop and end the jobs of a sweep."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from facelab.errors import TrackingError
from facelab.runs.begin import begin
from facelab.sweep.children import Standing
from facelab.sweep.executor import Call, Demand, Executor, Handle
from facelab.sweep.plan import Job
from facelab.system import training_command
from facelab.tracking import Store, TrackedRun, Watch, child_tags, supersede

LOOK_EVERY_S = 0.5
_STOP_WITHIN_S = 120.0
_SAVE_WITHIN_S = 30.0


@dataclass
class RunningJob:
    """A running job.

    Args:
        standing: the job, and its state before the start.
        handle: of its process.
        run: its run in the store.
        watch: reads its progress.
        stopped: reason of a stop request; empty if there was none.
        stopped_at_s: time of the stop request, on the monotonic clock.
        pruned: whether a search stopped it early.
    """

    standing: Standing
    handle: Handle
    run: TrackedRun
    watch: Watch
    stopped: str = ""
    stopped_at_s: float = 0.0
    pruned: bool = False

    def stop(self, why: str) -> None:
        """Request a checkpoint and a stop."""
        self.stopped, self.stopped_at_s = why, time.monotonic()
        self.handle.stop()

    @property
    def is_overdue(self) -> bool:
        """Whether it has not stopped in time after a stop request."""
        return bool(self.stopped) and time.monotonic() - self.stopped_at_s > _STOP_WITHIN_S


class RunningJobs:
    """The running jobs of a sweep.

    Args:
        executor: runs them.
        store: records their runs.
        sweep_id: id of the sweep's parent run.
    """

    def __init__(self, executor: Executor, store: Store, sweep_id: str) -> None:
        self._executor, self._store, self._sweep_id = executor, store, sweep_id
        self._running: list[RunningJob] = []

    def __iter__(self) -> Iterator[RunningJob]:
        """Iterate over a copy: jobs may be removed during iteration."""
        return iter([*self._running])

    def __len__(self) -> int:
        return len(self._running)

    def has_room(self, demand: Demand) -> bool:
        """Whether a job can be started now."""
        return self._executor.has_room(demand)

    def start(self, standing: Standing, note: Callable[[str], None]) -> RunningJob | None:
        """Start or resume a job; None while another process trains its run.

        Args:
            standing: the job.
            note: called with a message if the job cannot be started.

        Raises:
            TrackingError: the store cannot be written; the job was not started.
        """
        job, begun, demand = standing.job, standing.begun, standing.demand
        handle = None
        if begun is not None:
            handle = self._executor.running(Call(begun.folder, job.dependencies, demand))
            if handle is None and _is_held(begun):
                note(f"{begun.name} is still being trained by another process; waiting for it.")
                return None
        run = begun or self._begin(job)
        handle = handle or self._executor.start(Call(run.folder, job.dependencies, demand))
        started = RunningJob(standing, handle, run, Watch(run.folder))
        self._running.append(started)
        if standing.replaced:
            with suppress(TrackingError):  # repeated when the sweep is resumed
                supersede(self._store, standing.replaced, run.id)
        return started

    def remove(self, job: RunningJob) -> None:
        """Remove a job that has ended."""
        self._running.remove(job)

    def wait(self) -> None:
        """Wait until a job may have ended, for half a second at most."""
        self._executor.wait([job.handle for job in self._running], LOOK_EVERY_S)

    def stop_all(self, why: str) -> None:
        """Request a checkpoint and a stop of all jobs."""
        for job in self._running:
            job.stop(why)

    def wait_till_saved(self) -> None:
        """Wait until all jobs have stopped, for half a minute at most."""
        deadline = time.monotonic() + _SAVE_WITHIN_S
        while time.monotonic() < deadline and any(job.handle.ended() is None for job in self._running):
            time.sleep(LOOK_EVERY_S)

    def end_all(self) -> int:
        """End all running jobs and close their runs as KILLED; returns their number."""
        for job in self._running:
            job.handle.kill()
        for job in self._running:
            job.handle.close()
            if job.run.ended is None:
                job.run.status("KILLED", job.stopped or "interrupted")
            job.run.settle()
        count = len(self._running)
        self._running.clear()
        return count

    def _begin(self, job: Job) -> TrackedRun:
        tags = child_tags(self._sweep_id, job.point, job.trial)
        return begin(job.config, job.choices, tags, job.name, training_command(job.overrides))


def _is_held(run: TrackedRun) -> bool:
    try:
        with run.alone():
            return False
    except TrackingError:
        return True
