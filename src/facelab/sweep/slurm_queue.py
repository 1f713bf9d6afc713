"""What SLURM says about jobs: its commands, and the queue of this user."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

_ANSWER_WITHIN_S = 60.0
_GRACE_S = 10.0
# All other states go on by themselves; a requeued job is pending.
ENDED = frozenset(
    {
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY"),
        *("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"),
    }
)


@dataclass(frozen=True)
class SeenJob:
    """A job as SLURM showed it last: its name, its state, and why it is in it."""

    name: str
    state: str
    reason: str


class Queue:
    """What SLURM said last about the jobs of this user."""

    def __init__(self) -> None:
        self.looked_at = float("-inf")  # on the monotonic clock, in s; of the last answer
        self._seen: dict[str, SeenJob] = {}
        self._silent = False

    def look(self) -> str:
        """Ask; returns what is wrong if there is no answer, and nothing is known anew then."""
        began = time.monotonic()
        status, out, error = ask("squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%r|%j")
        if status:
            if not self._silent and self._seen:
                print(f"Note: SLURM does not answer, asking on: {error}", file=sys.stderr, flush=True)
            self._silent = True
            return error or f"squeue left with status {status}"
        self._silent, self.looked_at = False, began
        self._seen.clear()
        for line in out.splitlines():
            number, state, reason, name = line.split("|", 3)
            self._seen[number] = SeenJob(name, state, reason.replace("_", " "))
        return ""

    def of(self, number: str) -> SeenJob | None:
        """A job by its number; None if SLURM did not show it."""
        return self._seen.get(number)

    def going_on(self, name: str) -> str | None:
        """Number of the job of that name that has not ended."""
        found = [number for number, seen in self._seen.items() if seen.name == name and seen.state not in ENDED]
        return found[0] if found else None

    def cancel(self, numbers: Sequence[str]) -> None:
        """End jobs at once, and wait until they have gone."""
        if not numbers:
            return
        # scancel alone lets a job go on for a while, and write into a run that is closed by then.
        ask("scancel", "--quiet", "--state=RUNNING", "--signal=KILL", "--batch", *numbers)
        ask("scancel", "--quiet", *numbers)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline:
            self.look()
            seen = [self._seen.get(number) for number in numbers]
            if all(job is None or job.state in ENDED for job in seen):
                return
            time.sleep(0.3)


def exit_code(number: str) -> tuple[int, int]:
    """Exit status and signal of a job that has ended, or zeros."""
    _, out, _ = ask("scontrol", "--oneliner", "show", "job", number)
    fields = dict(field.split("=", 1) for field in out.split() if "=" in field)
    status, _, ended_by = fields.get("ExitCode", "0:0").partition(":")
    return int(status), int(ended_by)


def ask(*command: str) -> tuple[int, str, str]:
    """Exit status, output and error of one of SLURM's commands."""
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=_ANSWER_WITHIN_S)
    except subprocess.TimeoutExpired:
        return 1, "", f"no answer in {_ANSWER_WITHIN_S:.0f} s"
    return done.returncode, done.stdout, done.stderr.strip()
