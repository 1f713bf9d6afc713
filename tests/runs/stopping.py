"""Protocols that are interrupted while they evaluate."""

import os
import signal
from pathlib import Path

from facelab.protocols import Classification, Report, Subject, Verification


class Interrupted(Verification):
    """Sends this process Ctrl-C."""

    def evaluate(self, subject: Subject) -> Report:
        os.kill(os.getpid(), signal.SIGINT)
        return super().evaluate(subject)


class InterruptedOnce(Classification):
    """Sends this process Ctrl-C if the working folder holds a file `interrupt`, which it removes."""

    def evaluate(self, subject: Subject) -> Report:
        if Path("interrupt").exists():
            Path("interrupt").unlink()
            os.kill(os.getpid(), signal.SIGINT)
        return super().evaluate(subject)
