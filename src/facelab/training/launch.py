"""Start the processes of a distributed run on this machine."""

import logging
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from facelab.errors import TrainingError

T = TypeVar("T")

_HANDLED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")  # by torch's launcher, unless told otherwise


def launch(processes: int, task: Callable[..., T], *arguments: object) -> T:
    """Run a task in several connected processes; if one dies, the others are terminated.

    torch's launcher sets the environment of the processes (rank, world size, address). Lightning's own launcher would
    run the whole command line again, a sweep included.

    Args:
        processes: number of processes.
        task: a module-level function.
        arguments: its arguments, picklable.

    Returns:
        The return value of the first process.

    Raises:
        TrainingError: a process failed; the message has its rank and error.
        KeyboardInterrupt: the user interrupted the run.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        start_method="spawn",
        signals_to_handle=",".join(name for name in _HANDLED if not _is_ignored(name)),
    )
    try:
        with _own_handlers_restored():
            results: dict[int, T] = elastic_launch(config, task)(*arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise TrainingError(f"process {rank} of {processes} failed: {_message(failure.message)}") from error
    except SignalException as error:
        raise KeyboardInterrupt from error
    return results[0]


def _is_ignored(name: str) -> bool:
    """Whether a signal stays ignored, such as SIGHUP under nohup; or the system has none of that name."""
    return not hasattr(signal, name) or signal.getsignal(getattr(signal, name)) == signal.SIG_IGN


@contextmanager
def _own_handlers_restored() -> Iterator[None]:
    """Put back, after the block, the signal handlers that torch's launcher replaces and leaves installed."""
    numbers = [getattr(signal, name) for name in _HANDLED if hasattr(signal, name)]
    before = [(number, signal.getsignal(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            if handler is not None:  # None: not installed by Python
                signal.signal(number, handler)


def _message(text: str) -> str:
    """The message without the exception's type."""
    kind, colon, rest = text.partition(": ")
    return rest if colon and kind.isidentifier() else text
