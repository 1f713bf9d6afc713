"""Deliver a run's records while it is alive, and close it with the status of its outcome."""

import errno
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from safetensors import SafetensorError

from facelab.errors import Interrupted, TrackingError
from facelab.tracking import Courier, TrackedRun
from facelab.training.interrupt import StopRequest

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def recorded(tracked: TrackedRun, stop: StopRequest, advice: str) -> Iterator[None]:
    """Deliver the run's records within the block, and close it by how the block ends: FINISHED, KILLED or FAILED.

    Args:
        tracked: the run.
        stop: handles the signals within the block.
        advice: printed if the user or the system stops it, and how to go on once there is room on a full disk.

    Raises:
        KeyboardInterrupt: it was stopped.
        TrackingError: another process has the run, it was deleted in MLflow, or the disk is full.
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
        with suppress(TrackingError):  # the cause may be that this disk is full
            tracked.status("FAILED", f"{type(error).__name__}: {error}")
        if reason := _no_room(error):
            raise TrackingError(
                f"the files of run {tracked.id} in {tracked.folder} could not be written ({reason}). Make room on this "
                f"disk. {advice}"
            ) from error
        raise
    tracked.status("FINISHED")


def _no_room(error: BaseException) -> str | None:
    """Why a file could not be written, if the disk or the quota is full; None for any other error."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, SafetensorError) and (found := re.search(r"os error (\d+)", str(error))):
        number = int(found[1])
    return os.strerror(number) if number in _NO_ROOM else None


def _stop_here() -> None:
    """Stop this process by SIGTERM: training saves a checkpoint and ends all ranks."""
    os.kill(os.getpid(), signal.SIGTERM)
