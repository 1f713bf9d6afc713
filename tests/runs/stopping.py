"""A protocol that is interrupted while it evaluates."""

import os
import signal

from facelab.protocols import Report, Subject, Verification


class Interrupted(Verification):
    """Sends this process Ctrl-C."""

    def evaluate(self, subject: Subject) -> Report:
        os.kill(os.getpid(), signal.SIGINT)
        return super().evaluate(subject)
