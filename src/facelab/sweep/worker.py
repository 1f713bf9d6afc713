"""The process of one job. An entry point, as the command line is: it may import everything."""

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
from facelab.system import print_anything
from facelab.tracking import TrackedRun
from facelab.training.interrupt import die_with_parent

LOG = "log.txt"
DONE = "done"
_WORD_CHARACTERS = 5000


def train_job(call: Call) -> None:
    """Train the run of a job, or resume it from its newest checkpoint; does nothing if it has finished.

    Args:
        call: the job.

    Raises:
        FacelabError: an error the user can fix.
        KeyboardInterrupt: the job was told to stop; its run is closed as KILLED and can be resumed.
    """
    from facelab.runs import run

    print_anything()
    if TrackedRun.open(call.folder).ended != "FINISHED":
        run.run_job(call.folder, {"workers": call.demand.workers}, call.dependencies)


def child_main(call: Call, environment: Mapping[str, str], said: Connection) -> None:
    """Run a job in a process of its own on this machine; sends back `DONE`, or why it failed.

    Args:
        call: the job.
        environment: variables of the sweep's process, with what this job may use of the machine.
        said: takes that message.
    """
    die_with_parent()
    os.setsid()  # Ctrl-C in the terminal is the sweep's alone: it tells the jobs
    os.environ.clear()
    os.environ.update(environment)
    _write_to(call.folder / LOG)
    try:
        print(f"process {os.getpid()} begins at {_now()}")
        train_job(call)
        print(f"done at {_now()}")
    except (KeyboardInterrupt, Interrupted):
        _say(said, "interrupted")
        raise SystemExit(130) from None
    except FacelabError as error:
        print(f"Error: {error}", file=sys.stderr)
        _say(said, f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error
    except BaseException as error:  # SystemExit too: a library that leaves with status 0 has not trained
        traceback.print_exc()
        _say(said, f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error
    _say(said, DONE)


def _say(said: Connection, word: str) -> None:
    """Short enough for the pipe to take it whole, since nobody reads it before this process has ended."""
    with suppress(OSError):
        said.send(word[:_WORD_CHARACTERS])


def _now() -> str:
    return datetime.now().isoformat(" ", "milliseconds")


def _write_to(file: Path) -> None:
    """All output, also of libraries written in C, goes to the log."""
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        os.dup2(log, descriptor)
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.close(log)
