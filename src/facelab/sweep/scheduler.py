"""The main loop of a sweep: start jobs while resources allow, watch them, and stop them on request."""

from facelab.errors import TrackingError
from facelab.sweep.board import Board, first_line
from facelab.sweep.children import Standing
from facelab.sweep.executor import Ending
from facelab.sweep.jobs import RunningJob, RunningJobs
from facelab.sweep.outcomes import Outcomes
from facelab.sweep.source import Source
from facelab.training.interrupt import StopRequest


class Scheduler:
    """Runs the jobs of a source until none is left, or a stop is requested.

    Args:
        source: provides the jobs.
        jobs: the running jobs.
        outcomes: records the outcome of each.
        board: shows the sweep on the terminal.
        stop: stop request, such as Ctrl-C.
        fail_fast: whether the first failure stops the others.
    """

    def __init__(
        self,
        source: Source,
        jobs: RunningJobs,
        outcomes: Outcomes,
        board: Board,
        stop: StopRequest,
        fail_fast: bool,
    ) -> None:
        self._source, self._jobs, self._outcomes = source, jobs, outcomes
        self._board, self._stop, self._fail_fast = board, stop, fail_fast
        self._closing_down = False

    def run(self) -> None:
        """Run until all jobs have ended and none is left to start."""
        while True:
            self._heed_stop_request()
            anything_waits = self._start_what_fits()
            if not self._jobs and not anything_waits:
                return
            self._jobs.wait()
            for job in self._jobs:
                self._stop_if_hopeless(job)
                ending = job.handle.ended()
                if ending is not None:
                    self._end(job, ending)
                elif job.is_overdue:
                    job.handle.kill()

    def _heed_stop_request(self) -> None:
        if self._stop.requested and not self._closing_down:
            self._closing_down = True
            self._board.note("Stopping: running jobs save a checkpoint. Ctrl-C again ends them at once.")
            self._jobs.stop_all("interrupted")

    def _start_what_fits(self) -> bool:
        """Start jobs while resources allow; returns whether some wait for another reason."""
        waiting: list[Standing] = []
        while not self._closing_down:
            demand = self._source.upcoming()
            if demand is None or not self._jobs.has_room(demand):
                break
            standing = self._source.next()
            if standing is None:
                continue
            if not self._jobs.has_room(standing.demand):  # a trial may need more than was known before it was drawn
                waiting.append(standing)
                break
            try:
                started = self._jobs.start(standing, self._board.note)
            except TrackingError as error:  # running jobs do not need the store; new ones wait for it
                self._board.note(f"The next job waits: {first_line(str(error))}")
                waiting.append(standing)
                break
            if started is None:
                waiting.append(standing)
            else:
                self._board.started(started.run.id, started.run.name, started.watch)
        for standing in waiting:
            self._source.back(standing)
        return bool(waiting)

    def _stop_if_hopeless(self, job: RunningJob) -> None:
        for images_seen, validation in job.watch.look():
            if not job.stopped and self._source.hopeless(job.standing.job, images_seen, validation):
                job.pruned = True
                job.stop(f"pruned after {images_seen:,} images: worse than the median of the other trials")

    def _end(self, job: RunningJob, ending: Ending) -> None:
        self._jobs.remove(job)
        if self._fail_fast and not (ending.finished or job.stopped):
            self._closing_down = True
            self._jobs.stop_all("stopped because another job failed (sweep.fail_fast)")
        try:
            if self._source.is_known_ahead:  # a search should know this outcome before it draws
                self._start_what_fits()  # before writing to the store, which may be slow
        finally:
            how = self._outcomes.record(job, ending, self._board)
            if how is not None:
                self._source.ended(job.standing.job, how, job.watch.latest)
