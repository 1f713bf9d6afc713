"""Run the jobs of a sweep on this machine, each in its own process."""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import psutil
import torch

from facelab.errors import ConfigError
from facelab.sweep.executor import Call, Demand, Ending, Executor, Handle, Place
from facelab.sweep.worker import DONE, child_main
from facelab.system import cores, short_temporary_folder

_JOB_BYTES = 1.5 * 2**30  # memory of a job of the default size
_GRACE_S = 5.0


class Local(Place):
    """Runs jobs on this machine, in processes forked from one that has done all heavy imports.

    A crash of one job does not affect others. On the CPU, jobs share the cores; on GPUs, each job has its own.
    """

    def check(self, tracking_is_server: bool) -> None:
        """Do nothing: there are no requirements."""

    def threads_per_job(self, jobs: int, devices: int) -> int:
        """The cores divided by the number of processes, at least one."""
        return max(1, cores() // (jobs * devices))

    def executor(self, jobs: int | None) -> "Processes":
        """Create an executor for processes on this machine."""
        return Processes(jobs)


class Processes(Executor):
    """Executor for processes on this machine.

    Args:
        jobs: maximal number of parallel jobs; None for as many as cores, memory and GPUs allow.
    """

    def __init__(self, jobs: int | None) -> None:
        self._jobs = jobs
        self._gpus = _gpus()
        self._free_gpus = list(self._gpus)
        self._cores, self._used_cores = cores(), 0
        self._most = jobs or max(1, int(psutil.virtual_memory().available / _JOB_BYTES))
        self._running: list[_Process] = []
        self._context = multiprocessing.get_context("forkserver")

    def __enter__(self) -> "Processes":
        """Start the process that all jobs are forked from; it imports while the sweep prepares its jobs."""
        self._context.set_forkserver_preload(["facelab.sweep.preload"])
        with short_temporary_folder():
            forkserver.ensure_running()
        return self

    def __exit__(self, *_: Any) -> None:
        """End all running jobs."""
        for process in self._running:
            process.kill()
            process.close()

    def has_room(self, demand: Demand) -> bool:
        """Whether cores, memory and GPUs suffice for a job; one that exceeds the machine's cores runs alone."""
        for process in [process for process in self._running if process.ended() is not None]:
            self._running.remove(process)
            self._free_gpus += process.gpus
            self._used_cores -= process.cores
        gpus, wanted = self._share(demand)
        if gpus > len(self._gpus):
            raise ConfigError(f"trainer.devices={gpus}: this machine has {len(self._gpus)} GPUs.")
        crowded = len(self._running) >= self._most or self._used_cores + wanted > self._cores
        return gpus <= len(self._free_gpus) and not (self._running and crowded)

    def start(self, call: Call) -> "_Process":
        """Fork a process."""
        gpus, wanted = self._share(call.demand)
        taken = [self._free_gpus.pop(0) for _ in range(gpus)]
        self._used_cores += wanted
        listening, said = self._context.Pipe(duplex=False)
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(taken)} if gpus else {}
        child = self._context.Process(target=child_main, args=(call, {**os.environ, **visible}, said))
        child.start()
        said.close()
        process = _Process(child, listening, taken, wanted)
        self._running.append(process)
        return process

    def wait(self, handles: Sequence[Handle], timeout_s: float) -> None:
        """Wait until a process ends, or for the given time at most."""
        connection.wait([handle.sentinel for handle in handles if isinstance(handle, _Process)], timeout_s)

    def _share(self, demand: Demand) -> tuple[int, int]:
        """Number of GPUs and cores that a job occupies."""
        if demand.gpu:
            return demand.devices, 0
        return 0, 0 if self._jobs else demand.devices * demand.threads


class _Process(Handle):
    def __init__(self, child: ForkServerProcess, listening: Connection, gpus: list[str], cores: int) -> None:
        self.gpus, self.cores = gpus, cores
        self.sentinel = child.sentinel
        self._child, self._listening = child, listening
        self._pid = child.pid
        self._ending: Ending | None = None
        self._closed = False

    def ended(self) -> Ending | None:
        """Outcome of the process. It has finished only if it reported so and exited with status 0."""
        if self._ending is None and not self._closed and not self._child.is_alive():
            self._ending = self._read_outcome()
            self._kill_group()  # remaining ranks and loader processes
        return self._ending

    def stop(self) -> None:
        """Signal only the main process, which stops its ranks; killed loader processes would crash it."""
        if self._pid is not None and self.ended() is None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill all its processes."""
        if not self._closed:
            self._kill_group()
            self._child.kill()
            self._child.join(_GRACE_S)

    def close(self) -> None:
        """Close its pipes and file descriptors."""
        if self._closed:
            return
        self.ended()
        self._closed = True
        self._listening.close()
        with suppress(ValueError):  # still alive after SIGKILL, such as in uninterruptible I/O
            self._child.close()

    def _read_outcome(self) -> Ending:
        word = ""
        with suppress(EOFError, OSError):
            if self._listening.poll():
                word = self._listening.recv()
        code = self._child.exitcode
        if code == 0 and word == DONE:
            return Ending(True)
        if word and word != DONE:
            return Ending(False, word)
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; the usual cause is lack of memory" if name == "SIGKILL" else ""
            return Ending(False, f"its process was ended by {name}{hint}")
        return Ending(False, f"its process ended with status {code} without a message")

    def _kill_group(self) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return visible.split(",")[:count] if visible else [str(number) for number in range(count)]
