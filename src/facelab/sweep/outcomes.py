"""Count and record the outcomes of a sweep's jobs."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from facelab.errors import TrackingError
from facelab.sweep.board import Board, first_line
from facelab.sweep.context import Context
from facelab.sweep.executor import Ending
from facelab.sweep.jobs import RunningJob
from facelab.sweep.parent import Parent
from facelab.sweep.study import Outcome
from facelab.sweep.worker import LOG
from facelab.system import counted
from facelab.tracking import TrackedRun, supersede

INTERRUPTED = 130  # exit status


@dataclass(frozen=True)
class _Failure:
    name: str
    reason: str
    log: Path


class Outcomes:
    """Counts and records the outcomes of a sweep's jobs.

    Args:
        context: of the sweep.
        parent: its parent run.
    """

    def __init__(self, context: Context, parent: Parent) -> None:
        self._context, self._parent = context, parent
        self._counts: dict[Outcome, int] = {"finished": 0, "failed": 0, "pruned": 0}
        self._interrupted = 0
        self._failures: list[_Failure] = []
        self._undelivered: list[TrackedRun] = []

    def count_before(self, counts: Mapping[str, int]) -> None:
        """Count jobs that ended before this process started, by outcome."""
        for how in self._counts:
            self._counts[how] += counts.get(how, 0)

    def count_interrupted(self, jobs: int) -> None:
        """Count jobs that were interrupted with the sweep."""
        self._interrupted += jobs

    def invalid(self, number: int, why: str) -> None:
        """Count a trial with an invalid config as failed."""
        self._counts["failed"] += 1
        self._failures.append(_Failure(f"trial {number}", why, self._parent.study_file))
        self._context.warn(f"trial {number} has an invalid config: {why}")

    def record(self, job: RunningJob, ending: Ending, board: Board) -> Outcome | None:
        """Record the outcome of a job.

        Returns:
            The outcome; None if the job was interrupted and can be resumed.
        """
        job.watch.look()
        log = job.run.folder / LOG
        if log.is_file():
            job.run.file(LOG)
        how = self._close(job, ending, board, log)
        if not job.run.settle():
            self._undelivered.append(job.run)
        job.handle.close()
        if how is None:
            self._interrupted += 1
        else:
            self._counts[how] += 1
        if how == "finished" and job.standing.outlived:
            with suppress(TrackingError):  # repeated when the sweep is resumed
                supersede(self._context.store, job.standing.outlived, job.run.id)
        return how

    def _close(self, job: RunningJob, ending: Ending, board: Board, log: Path) -> Outcome | None:
        """Set the status of the run, if its process did not, and show it."""
        run = job.run
        if ending.finished or run.ended == "FINISHED":
            board.finished(run.id)
            return "finished"
        if run.ended != "FAILED" and (job.stopped or run.ended == "KILLED"):
            why = job.stopped or "interrupted"
            if run.ended != "KILLED" or job.stopped:
                run.status("KILLED", why)
            board.stopped(run.id, "pruned" if job.pruned else "stopped", why)
            return "pruned" if job.pruned else None
        if run.ended != "FAILED":
            run.status("FAILED", ending.reason)
        self._failures.append(_Failure(run.name, ending.reason, log))
        board.failed(run.id, ending.reason, log)
        return "failed"

    def conclude(self, total: int, stop_requested: bool) -> int:
        """Close the parent run and print a summary.

        Args:
            total: number of jobs of the whole sweep.
            stop_requested: whether a stop of the sweep was requested.

        Returns:
            The command's exit status.
        """
        finished, failed = self._counts["finished"], self._counts["failed"]
        run, plan = self._parent.run, self._context.plan
        before = {step for _, name, step in run.spool.known if name.startswith("sweep/")}
        run.metrics({f"sweep/{how}": float(count) for how, count in self._counts.items()}, len(before))
        self._warn_of_undelivered()
        self._warn_of_failures(total)
        if stop_requested or (self._interrupted and not failed):
            run.status("KILLED", "interrupted")
            self._context.say(f"{finished} of {total} jobs have finished. To resume: {plan.command}")
            return INTERRUPTED
        if failed:
            run.status("FAILED", f"{failed} of {total} jobs failed")
            if not plan.searching:
                self._context.say(f"Fix the errors, then run the failed jobs again with: {plan.command}")
            return 1
        run.status("FINISHED")
        return 0

    def _warn_of_undelivered(self) -> None:
        left = [run for run in self._undelivered if not run.settle()]
        if left:
            runs, uri = counted(len(left), "run"), self._context.store.uri
            self._context.warn(f"{runs} could not deliver all records to {uri}. Deliver with: facelab sync")

    def _warn_of_failures(self, total: int) -> None:
        if self._failures:
            lines = [f"{len(self._failures)} of {total} jobs failed:"]
            for failure in self._failures:
                lines.append(f"  {failure.name}: {first_line(failure.reason)}\n    log: {failure.log}")
            self._context.warn("\n".join(lines))
