"""Deliver a run's records while it is alive, and close it with the status of its outcome."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from facelab.errors import Interrupted, TrackingError
from facelab.tracking import Courier, TrackedRun
from facelab.training.interrupt import StopRequest


@contextmanager
def recorded(tracked: TrackedRun, stop: StopRequest, advice: str) -> Iterator[None]:
    """Deliver the run's records within the block, and close it by how the block ends: FINISHED, KILLED or FAILED.

    Args:
        tracked: the run.
        stop: handles the signals within the block.
        advice: printed if the user or the system stops it.

    Raises:
        KeyboardInterrupt: it was stopped.
        TrackingError: another process has the run, or it was deleted in MLflow.
    """
    with stop.installed(), tracked.delivering(warn, _stop_here) as courier, _closing(tracked, courier, advice):
        tracked.status("RUNNING")  # the store may say otherwise: of an earlier end, or since `facelab runs` closed it
        yield


def warn(message: str) -> None:
    """Print a message to standard error."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def _closing(tracked: TrackedRun, courier: Courier, advice: str) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as error:
        if courier.deleted:
            tracked.status("KILLED", "deleted in MLflow")
            raise TrackingError(f"stopped: run {tracked.id} was deleted in MLflow.") from error
        tracked.status("KILLED", "interrupted")
        warn(advice)
        raise KeyboardInterrupt from error
    except BaseException as error:
        tracked.status("FAILED", f"{type(error).__name__}: {error}")
        raise
    tracked.status("FINISHED")


def _stop_here() -> None:
    """Stop this process by SIGTERM: training saves a checkpoint and ends all ranks."""
    os.kill(os.getpid(), signal.SIGTERM)
