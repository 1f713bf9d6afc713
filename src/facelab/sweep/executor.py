"""Interfaces of executors, which run the jobs of a sweep in processes on this machine or on a cluster."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facelab.runs.dependencies import Dependency


@dataclass(frozen=True)
class Demand:
    """Resources that a job needs.

    Args:
        devices: number of processes that share the run's batches.
        threads: CPU threads of each process.
        gpu: whether each process needs a GPU.
        workers: data loader processes of each process.
    """

    devices: int
    threads: int
    gpu: bool
    workers: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Demand":
        """Resources of a run with a resolved config."""
        trainer = config["trainer"]
        gpu = trainer["accelerator"] == "gpu"
        return cls(trainer["devices"], trainer["threads"], gpu, config["runtime"]["workers"])


@dataclass(frozen=True)
class Call:
    """Arguments of a job's process; picklable.

    Args:
        folder: of the job's run, already created: `<runs folder>/<run id>` with `config.yaml` and a spool.
        dependencies: runs that this run depends on, by role.
        demand: resources that the job needs.
    """

    folder: Path
    dependencies: Mapping[str, Dependency]
    demand: Demand


@dataclass(frozen=True)
class Ending:
    """Outcome of a job's process.

    Args:
        finished: whether it reported that it was done and exited with status 0.
        reason: why it did not finish, in words.
    """

    finished: bool
    reason: str = ""


class Handle(ABC):
    """A job that has been started."""

    @abstractmethod
    def ended(self) -> Ending | None:
        """Outcome of the process; None while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Request a checkpoint and a stop."""

    @abstractmethod
    def kill(self) -> None:
        """Kill the process."""

    @abstractmethod
    def close(self) -> None:
        """Release its resources after it has ended."""


class Executor(ABC):
    """Runs jobs in parallel, as far as resources allow. A context manager: on exit, running jobs are ended."""

    @abstractmethod
    def __enter__(self) -> "Executor":
        """Prepare to run jobs."""

    @abstractmethod
    def __exit__(self, *_: Any) -> None:
        """End all running jobs."""

    @abstractmethod
    def has_room(self, demand: Demand) -> bool:
        """Whether a job can be started now.

        Raises:
            ConfigError: the job can never be started.
        """

    def running(self, call: Call) -> Handle | None:
        """Find a running job that an earlier process of this sweep started; None if there is none."""
        return None

    @abstractmethod
    def start(self, call: Call) -> Handle:
        """Start a job; `has_room` must have returned True."""

    @abstractmethod
    def wait(self, handles: Sequence[Handle], timeout_s: float) -> None:
        """Wait until a job may have ended, or for the given time at most."""


class Place(ABC):
    """The `executor` of a config: where the jobs of a sweep run."""

    elsewhere = False  # whether jobs run on other machines; `auto` in configs is then refused

    @abstractmethod
    def check(self, tracking_is_server: bool) -> None:
        """Check that sweeps can run there.

        Raises:
            ConfigError: a requirement is missing.
        """

    @abstractmethod
    def threads_per_job(self, jobs: int, devices: int) -> int:
        """CPU threads of each process of a job, if its config does not set them.

        Args:
            jobs: maximal number of parallel jobs, if resources allow.
            devices: processes of a job.
        """

    @abstractmethod
    def executor(self, jobs: int | None) -> Executor:
        """Create the executor.

        Args:
            jobs: maximal number of parallel jobs; None for as many as resources allow.
        """
