"""What runs on a node of the cluster: one job, which leaves `DONE` or a reason in a file."""

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

FILES = "slurm"  # folder of a run: what was submitted, and each job's message
INTERRUPTED = "interrupted"
# What tells Lightning that srun had started one process for each device: here we start them.
_OF_SRUN = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE")


def node_main(call: Call) -> None:
    """Train a job on this node, and write `DONE` or a reason into its message file.

    Args:
        call: the job.

    Raises:
        SystemExit: it is not done.
    """
    word = word_file(call.folder, os.environ["SLURM_JOB_ID"])
    word.unlink(missing_ok=True)  # of an earlier start of this job, if it was requeued
    for name in _OF_SRUN:
        os.environ.pop(name, None)
    late: list[bool] = []

    def stop_in_time(*_: Any) -> None:
        late.append(True)
        os.kill(os.getpid(), signal.SIGTERM)

    with StopRequest().installed():  # submitit's handlers let SIGTERM pass unheard
        signal.signal(signal.SIGUSR2, stop_in_time)
        try:
            train_job(call)
        except (KeyboardInterrupt, Interrupted):
            _say(word, "its time on the cluster was up; the same command resumes it" if late else INTERRUPTED)
            raise SystemExit(130) from None
        except BaseException as error:  # SystemExit too: a library that leaves with status 0 has not trained
            if isinstance(error, FacelabError):
                print(f"Error: {error}", file=sys.stderr)
            else:
                traceback.print_exc()
            _say(word, f"{type(error).__name__}: {error}")
            raise SystemExit(1) from error
        _say(word, DONE)


def word_file(folder: Path, number: str) -> Path:
    """Of the job with that number, which trains the run of that folder."""
    return folder / FILES / f"{number}_word.txt"


def _say(path: Path, word: str) -> None:
    """Whole or not at all."""
    beside = path.with_suffix(".new")
    beside.write_text(word, encoding="utf-8")
    beside.replace(path)
