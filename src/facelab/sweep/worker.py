"""The entry point of a job's process."""

import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

from facelab.errors import FacelabError, Interrupted
from facelab.sweep.executor import Call
from facelab.system import die_with_parent, print_anything
from facelab.tracking import TrackedRun
from facelab.training.interrupt import heed_stops

LOG = "log.txt"
DONE = "done"
_WORD_CHARACTERS = 5000


def train_job(call: Call) -> None:
    """Train the run of a job, or resume it from its newest checkpoint; does nothing if it has finished.

    Args:
        call: the job.

    Raises:
        FacelabError: an error the user can fix.
        KeyboardInterrupt: the job was stopped; its run is closed as KILLED and can be resumed.
    """
    from facelab.runs import run

    print_anything()
    if TrackedRun.open(call.folder).ended != "FINISHED":
        run.run_job(call.folder, {"workers": call.demand.workers}, call.dependencies)


def child_main(call: Call, environment: Mapping[str, str], said: Connection) -> None:
    """Run a job in its own process on this machine; sends `DONE` or the reason of a failure to the sweep.

    Args:
        call: the job.
        environment: environment variables, such as those that select GPUs.
        said: pipe for that message.
    """
    die_with_parent()
    heed_stops()
    os.setsid()  # only the sweep receives Ctrl-C; it stops the jobs
    os.environ.clear()
    os.environ.update(environment)
    _write_to(call.folder / LOG)
    try:
        print(f"process {os.getpid()} started at {_now()}")
        train_job(call)
        print(f"done at {_now()}")
    except (KeyboardInterrupt, Interrupted):
        _say(said, "interrupted")
        raise SystemExit(130) from None
    except FacelabError as error:
        print(f"Error: {error}", file=sys.stderr)
        _say(said, f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error
    except BaseException as error:  # SystemExit too: a library may exit with status 0 before training ends
        traceback.print_exc()
        _say(said, f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error
    _say(said, DONE)


def _say(said: Connection, word: str) -> None:
    """Send a message, truncated to fit the pipe's buffer: the sweep reads it only after this process has ended."""
    with suppress(OSError):
        said.send(word[:_WORD_CHARACTERS])


def _now() -> str:
    return datetime.now().isoformat(" ", "milliseconds")


def _write_to(file: Path) -> None:
    """Redirect all output, also of C libraries, to a file."""
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        os.dup2(log, descriptor)
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.close(log)
