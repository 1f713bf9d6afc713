"""A batch job that has been submitted: whether it ended, and how."""

import signal
import time
from pathlib import Path

from facelab.sweep.executor import Ending, Handle
from facelab.sweep.slurm_node import INTERRUPTED, word_file
from facelab.sweep.slurm_queue import ENDED, Queue, ask, exit_code
from facelab.sweep.worker import DONE

_WORD_LATE_S = 15.0  # files written on a node show up late on a network file system
_HOPELESS = {
    "PartitionTimeLimit": "the partition does not allow so long a job: lower executor.time_min",
    "BadConstraints": "no node can give what it asks for",
    "launch failed requeued held": "it could not be started on its node, and is held",
}
_NEVER_BEGAN = 53  # in place of a signal: its folder or its log could not be written on the node


class BatchJob(Handle):
    """A job of the cluster.

    Args:
        number: that SLURM gave it.
        folder: of its run.
        queue: what SLURM says.
    """

    def __init__(self, number: str, folder: Path, queue: Queue) -> None:
        self.number = number
        self._folder, self._queue = folder, queue
        self._known_at = time.monotonic()
        self._silent_since: float | None = None
        self._ending: Ending | None = None

    def ended(self) -> Ending | None:
        """Done only if it said so and left with status 0: neither alone is proof."""
        if self._ending is None:
            self._ending = self._judge()
        return self._ending

    def stop(self) -> None:
        """SIGTERM to its main process, which tells the others; one that waits is cancelled."""
        ask("scancel", "--quiet", "--state=PENDING", self.number)
        ask("scancel", "--quiet", "--state=RUNNING", "--signal=TERM", "--batch", self.number)

    def kill(self) -> None:
        """All its processes."""
        self._queue.cancel([self.number])

    def close(self) -> None:
        """Nothing is held here."""

    def _judge(self) -> Ending | None:
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
        state = seen.state if seen else "FORGOTTEN"  # some minutes after a job's end, SLURM does
        word = self._word(may_come=number == 0)
        if word is None:
            return None
        if word == DONE and state in ("COMPLETED", "FORGOTTEN"):
            return Ending(True)
        if word and word != DONE and not (word == INTERRUPTED and state != "FAILED"):
            return Ending(False, word)
        return Ending(False, _reason(self.number, state, code, number))

    def _word(self, may_come: bool) -> str | None:
        """Its message, empty if there is none; None while one may still come."""
        path = word_file(self._folder, self.number)
        if path.parent.is_dir():
            list(path.parent.iterdir())  # has a network file system look again
        if path.is_file():
            return path.read_text(encoding="utf-8")
        self._silent_since = self._silent_since or time.monotonic()
        return None if may_come and time.monotonic() - self._silent_since < _WORD_LATE_S else ""


def _reason(job: str, state: str, code: int, number: int) -> str:
    """Why a job ended that gave no reason, for people."""
    match state:
        case "OUT_OF_MEMORY":
            return f"SLURM ended job {job}: it took more memory than it may; executor.memory_gib gives it more"
        case "TIMEOUT" | "DEADLINE":
            return f"SLURM ended job {job}: its time was up ({state}); executor.time_min gives it more"
        case "NODE_FAIL" | "BOOT_FAIL":
            return f"the node of job {job} failed ({state})"
        case "CANCELLED":
            return f"job {job} was cancelled in SLURM (scancel)"
        case "FORGOTTEN":
            return f"job {job} gave no reason, and SLURM no longer knows it"
        case "PREEMPTED" | "REVOKED":
            return f"SLURM gave the place of job {job} to another ({state})"
    if number == _NEVER_BEGAN:
        return f"job {job} could not write its folder on its node: the nodes must share the folder of runs"
    if number:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = "; SLURM or the system does so when memory runs out" if name == "SIGKILL" else ""
        return f"the process of job {job} was ended by {name}{hint}"
    return f"the process of job {job} ended with status {code} ({state}) and gave no reason"
