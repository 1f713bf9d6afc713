"""A submitted batch job: its state and outcome."""

import signal
import time
from pathlib import Path

from facelab.sweep.executor import Ending, Handle
from facelab.sweep.slurm_node import INTERRUPTED, word_file
from facelab.sweep.slurm_queue import ENDED, Queue, ask, exit_code
from facelab.sweep.worker import DONE

_WORD_LATE_S = 15.0  # files written on a node appear late on a network file system
_HOPELESS = {
    "PartitionTimeLimit": "it exceeds the time limit of the partition: lower executor.time_min",
    "BadConstraints": "no node has the requested resources",
    "launch failed requeued held": "it could not be started on its node, and is held",
}
_NEVER_BEGAN = 53  # in place of a signal: its folder or its log could not be written on the node


class BatchJob(Handle):
    """A batch job of the cluster.

    Args:
        number: its SLURM job id.
        folder: of its run.
        queue: the user's SLURM queue.
    """

    def __init__(self, number: str, folder: Path, queue: Queue) -> None:
        self.number = number
        self._folder, self._queue = folder, queue
        self._known_at = time.monotonic()
        self._silent_since: float | None = None
        self._ending: Ending | None = None

    def ended(self) -> Ending | None:
        """Outcome of the job. It has finished only if it reported so and exited with status 0."""
        if self._ending is None:
            self._ending = self._read_outcome()
        return self._ending

    def stop(self) -> None:
        """Send SIGTERM to its main process, which stops the others; cancel it if it is pending."""
        ask("scancel", "--quiet", "--state=PENDING", self.number)
        ask("scancel", "--quiet", "--state=RUNNING", "--signal=TERM", "--batch", self.number)

    def kill(self) -> None:
        """Kill all its processes."""
        self._queue.cancel([self.number])

    def close(self) -> None:
        """Do nothing: there are no resources to release."""

    def _read_outcome(self) -> Ending | None:
        seen = self._queue.of(self.number)
        if seen is None and self._queue.looked_at < self._known_at:
            return None  # submitted since
        if seen is not None and seen.state not in ENDED:
            hope = _HOPELESS.get(seen.reason)
            if seen.state != "PENDING" or hope is None:
                return None
            ask("scancel", "--quiet", self.number)
            return Ending(False, f"SLURM cannot run job {self.number}: {hope} ({seen.reason})")
        code, number = exit_code(self.number)
        state = seen.state if seen else "FORGOTTEN"  # SLURM forgets jobs some minutes after their end
        word = self._word(may_come=number == 0)
        if word is None:
            return None
        if word == DONE and state in ("COMPLETED", "FORGOTTEN"):
            return Ending(True)
        if word and word != DONE and not (word == INTERRUPTED and state != "FAILED"):
            return Ending(False, word)
        return Ending(False, _reason(self.number, state, code, number))

    def _word(self, may_come: bool) -> str | None:
        """Its message, empty if there is none; None while one may still arrive."""
        path = word_file(self._folder, self.number)
        if path.parent.is_dir():
            list(path.parent.iterdir())  # refreshes the cache of a network file system
        if path.is_file():
            return path.read_text(encoding="utf-8")
        self._silent_since = self._silent_since or time.monotonic()
        return None if may_come and time.monotonic() - self._silent_since < _WORD_LATE_S else ""


def _reason(job: str, state: str, code: int, number: int) -> str:
    """Why a job ended that left no message, in words."""
    match state:
        case "OUT_OF_MEMORY":
            return f"SLURM ended job {job}: it exceeded its memory; raise executor.memory_gib"
        case "TIMEOUT" | "DEADLINE":
            return f"SLURM ended job {job}: it exceeded its time limit ({state}); raise executor.time_min"
        case "NODE_FAIL" | "BOOT_FAIL":
            return f"the node of job {job} failed ({state})"
        case "CANCELLED":
            return f"job {job} was cancelled in SLURM (scancel)"
        case "FORGOTTEN":
            return f"job {job} left no message, and SLURM has no record of it any more"
        case "PREEMPTED" | "REVOKED":
            return f"SLURM preempted job {job} ({state})"
    if number == _NEVER_BEGAN:
        return f"job {job} could not write its folder on its node: the nodes must share the runs folder"
    if number:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = "; the usual cause is lack of memory" if name == "SIGKILL" else ""
        return f"the process of job {job} was ended by {name}{hint}"
    return f"the process of job {job} ended with status {code} ({state}) without a message"
