"""Query SLURM: its commands, and the queue of this user."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

_ANSWER_WITHIN_S = 60.0
_GRACE_S = 10.0
# Final states; a requeued job is pending.
ENDED = frozenset(
    {
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY"),
        *("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"),
    }
)


@dataclass(frozen=True)
class SeenJob:
    """A job as last reported by SLURM: its name, state, and the reason of the state."""

    name: str
    state: str
    reason: str


class Queue:
    """The jobs of this user, as last reported by SLURM."""

    def __init__(self) -> None:
        self.looked_at = float("-inf")  # time of the last report, on the monotonic clock in s
        self._seen: dict[str, SeenJob] = {}
        self._silent = False

    def look(self) -> str:
        """Query the queue; returns an error message if that fails, and keeps the last report."""
        began = time.monotonic()
        status, out, error = ask("squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%r|%j")
        if status:
            if not self._silent and self._seen:
                print(f"Note: squeue failed, trying again: {error}", file=sys.stderr, flush=True)
            self._silent = True
            return error or f"squeue exited with status {status}"
        self._silent, self.looked_at = False, began
        self._seen.clear()
        for line in out.splitlines():
            number, state, reason, name = line.split("|", 3)
            self._seen[number] = SeenJob(name, state, reason.replace("_", " "))
        return ""

    def of(self, number: str) -> SeenJob | None:
        """A job by its number; None if SLURM did not report it."""
        return self._seen.get(number)

    def going_on(self, name: str) -> str | None:
        """Number of a running or pending job of that name; None if there is none."""
        found = [number for number, seen in self._seen.items() if seen.name == name and seen.state not in ENDED]
        return found[0] if found else None

    def cancel(self, numbers: Sequence[str]) -> None:
        """Kill jobs, and wait until they have ended."""
        if not numbers:
            return
        # After scancel alone, a job would run a little longer and write into a run that is already closed.
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
    """Exit status and signal of an ended job; zeros if unknown."""
    _, out, _ = ask("scontrol", "--oneliner", "show", "job", number)
    fields = dict(field.split("=", 1) for field in out.split() if "=" in field)
    status, _, ended_by = fields.get("ExitCode", "0:0").partition(":")
    return int(status), int(ended_by)


def ask(*command: str) -> tuple[int, str, str]:
    """Run one of SLURM's commands; returns its exit status, output and error output."""
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=_ANSWER_WITHIN_S)
    except subprocess.TimeoutExpired:
        return 1, "", f"no response within {_ANSWER_WITHIN_S:.0f} s"
    return done.returncode, done.stdout, done.stderr.strip()
