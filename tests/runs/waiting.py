"""A protocol that says when it evaluates, and gives a test time to stop it there."""

import time
from pathlib import Path

from facelab.protocols import Classification, Report, Subject


class WaitingClassification(Classification):
    """Classification, after a minute where the working folder holds a file `wait`."""

    def evaluate(self, subject: Subject) -> Report:
        """Say so, wait, evaluate."""
        Path("evaluating").touch()
        if Path("wait").exists():
            time.sleep(60)
        return super().evaluate(subject)
