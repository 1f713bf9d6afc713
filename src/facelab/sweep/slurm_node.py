"""The entry point of a job on a node of the cluster; it writes `DONE` or a reason into a file."""

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from facelab.errors import FacelabError, Interrupted
from facelab.sweep.executor import Call
from facelab.sweep.worker import DONE, train_job
from facelab.training.interrupt import StopRequest

FILES = "slurm"  # subfolder of a run, with submitted files and the message of each job
INTERRUPTED = "interrupted"
# From these, Lightning would conclude that srun has started one process for each device; facelab starts them itself.
_OF_SRUN = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE")


def node_main(call: Call) -> None:
    """Train a job on this node, and write `DONE` or a reason into its message file.

    Args:
        call: the job.

    Raises:
        SystemExit: the job was interrupted or failed.
    """
    word = word_file(call.folder, os.environ["SLURM_JOB_ID"])
    word.unlink(missing_ok=True)  # of an earlier start of this job, if it was requeued
    for name in _OF_SRUN:
        os.environ.pop(name, None)
    late: list[bool] = []

    def stop_in_time(*_: Any) -> None:
        late.append(True)
        os.kill(os.getpid(), signal.SIGTERM)

    with StopRequest().installed():  # submitit's handlers ignore SIGTERM
        signal.signal(signal.SIGUSR2, stop_in_time)
        try:
            train_job(call)
        except (KeyboardInterrupt, Interrupted):
            _say(word, "it reached its time limit; the same command resumes it" if late else INTERRUPTED)
            raise SystemExit(130) from None
        except BaseException as error:  # SystemExit too: a library may exit with status 0 before training ends
            if isinstance(error, FacelabError):
                print(f"Error: {error}", file=sys.stderr)
            else:
                traceback.print_exc()
            _say(word, f"{type(error).__name__}: {error}")
            raise SystemExit(1) from error
        _say(word, DONE)


def word_file(folder: Path, number: str) -> Path:
    """Message file of a job, by the folder of its run and its number."""
    return folder / FILES / f"{number}_word.txt"


def _say(path: Path, word: str) -> None:
    """Write a message file atomically."""
    beside = path.with_suffix(".new")
    beside.write_text(word, encoding="utf-8")
    beside.replace(path)
