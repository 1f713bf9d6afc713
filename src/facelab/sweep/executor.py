"""What runs the jobs of a sweep: processes of this machine, or a cluster."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facelab.runs.dependencies import Dependency


@dataclass(frozen=True)
class Demand:
    """What a job takes of a machine.

    Args:
        devices: how many processes share the run's batches.
        threads: CPU threads of each of them.
        gpu: whether each process needs a GPU.
        workers: loader processes of each.
    """

    devices: int
    threads: int
    gpu: bool
    workers: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Demand":
        """Of a run whose config is resolved."""
        trainer = config["trainer"]
        gpu = trainer["accelerator"] == "gpu"
        return cls(trainer["devices"], trainer["threads"], gpu, config["runtime"]["workers"])


@dataclass(frozen=True)
class Call:
    """All that the process of a job needs to know; picklable.

    Args:
        folder: of the job's run, which has begun: `<runs folder>/<run id>` with `config.yaml` and a spool.
        needs: further runs that this one needs, by what they are to it.
        demand: what it takes of a machine.
    """

    folder: Path
    dependencies: Mapping[str, Dependency]
    demand: Demand


@dataclass(frozen=True)
class Ending:
    """How a job's process ended.

    Args:
        finished: it said that it was done, and left with status 0.
        reason: why not, for people.
    """

    finished: bool
    reason: str = ""


class Handle(ABC):
    """A job that has been started."""

    @abstractmethod
    def ended(self) -> Ending | None:
        """How it ended; None while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to save a checkpoint and to stop."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the system holds for it, after it has ended."""


class Executor(ABC):
    """Runs calls, as many at a time as it has room for. A context: leaving it ends whatever still runs."""

    @abstractmethod
    def __enter__(self) -> "Executor":
        """Make ready."""

    @abstractmethod
    def __exit__(self, *_: Any) -> None:
        """End what still runs."""

    @abstractmethod
    def has_room(self, demand: Demand) -> bool:
        """Whether a job can be started now.

        Raises:
            ConfigError: it never can.
        """

    def running(self, call: Call) -> Handle | None:
        """A job that an earlier process of this sweep started and that outlived it; None if there is none."""
        return None

    @abstractmethod
    def start(self, call: Call) -> Handle:
        """Start a job for which there is room."""

    @abstractmethod
    def wait(self, handles: Sequence[Handle], timeout_s: float) -> None:
        """Return when one of the jobs may have ended, or when time is up."""


class Place(ABC):
    """The `executor` of a config: where the jobs of a sweep run."""

    elsewhere = False  # whether that is not this machine, so that a config must not be left to what this one has

    @abstractmethod
    def check(self, tracking_is_server: bool) -> None:
        """See that sweeps can run there.

        Raises:
            ConfigError: they cannot; says what is missing.
        """

    @abstractmethod
    def threads_per_job(self, jobs: int, devices: int) -> int:
        """CPU threads of each process of a job where its config leaves them open.

        Args:
            jobs: how many there would be at a time if there were room for all.
            devices: processes of a job.
        """

    @abstractmethod
    def executor(self, jobs: int | None) -> Executor:
        """What runs the jobs.

        Args:
            jobs: how many at a time at most; None for what fits.
        """
