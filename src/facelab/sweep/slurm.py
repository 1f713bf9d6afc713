"""Run the jobs of a sweep on a SLURM cluster, each as a batch job on one node."""

import importlib.util
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from facelab.errors import ConfigError
from facelab.sweep.executor import Call, Demand, Executor, Handle, Place
from facelab.sweep.slurm_job import BatchJob
from facelab.sweep.slurm_node import FILES, node_main
from facelab.sweep.slurm_queue import Queue, ask
from facelab.sweep.worker import LOG

_COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
_LOOK_EVERY_S = 2.0
_WARN_BEFORE_S = 120  # before the time limit: enough for a checkpoint


class Slurm(Place):
    """Runs jobs on a SLURM cluster: one batch job for each run, on one node.

    The runs folder and the Python environment must be on a file system that the nodes share. A job requests
    `trainer.devices` x (`trainer.threads` + `runtime.workers`) CPUs and, on GPUs, `trainer.devices` of them. Two
    minutes before its time limit it saves a checkpoint and stops; the same command resumes it.

    Args:
        partition: of the cluster; null for its default.
        account: account to charge; null for the user's default.
        time_min: time limit of a job, in minutes.
        memory_gib: memory of a job, in GiB.
        setup: shell commands to run before a job's process, such as `module load cuda`.
    """

    elsewhere = True

    def __init__(
        self,
        partition: str | None = None,
        account: str | None = None,
        time_min: Annotated[int, Field(ge=5)] = 240,
        memory_gib: Annotated[int, Field(ge=1)] = 8,
        setup: Sequence[str] = (),
    ) -> None:
        self.partition, self.account = partition, account
        self.time_min, self.memory_gib, self.setup = time_min, memory_gib, list(setup)

    def check(self, tracking_is_server: bool) -> None:
        """Check that there are a tracking server, submitit, and SLURM's commands."""
        if not tracking_is_server:
            raise ConfigError(
                "executor=slurm: the jobs of several machines cannot write one sqlite file safely. Start an MLflow "
                "server that the nodes can reach, and add tracking=server tracking.uri=http://<host>:<port>."
            )
        if importlib.util.find_spec("submitit") is None:
            raise ConfigError(
                "executor=slurm: the package submitit is missing. Install it: pip install 'facelab[slurm]'."
            )
        missing = [command for command in _COMMANDS if shutil.which(command) is None]
        if missing:
            raise ConfigError(
                f"executor=slurm: {', '.join(missing)} cannot be found on the PATH. Start the sweep on a login node of "
                "the cluster, or choose executor=local."
            )

    def threads_per_job(self, jobs: int, devices: int) -> int:
        """One. Set trainer.threads for more."""
        return 1

    def executor(self, jobs: int | None) -> "BatchJobs":
        """Create an executor for batch jobs of the cluster."""
        return BatchJobs(self, jobs)


class BatchJobs(Executor):
    """Executor for batch jobs of the cluster.

    Args:
        place: resources of each job.
        jobs: maximal number of submitted jobs at a time; None for all, because SLURM has its own queue.
    """

    def __init__(self, place: Slurm, jobs: int | None) -> None:
        self._place, self._most = place, jobs
        self._queue = Queue()
        self._jobs: list[BatchJob] = []
        self._possible: set[Demand] = set()

    def __enter__(self) -> "BatchJobs":
        """Check that SLURM responds.

        Raises:
            ConfigError: it does not.
        """
        trouble = self._queue.look()
        if trouble:
            raise ConfigError(f"executor=slurm: squeue failed: {trouble}")
        return self

    def __exit__(self, *_: Any) -> None:
        """Cancel all running and pending jobs."""
        self._queue.cancel([job.number for job in self._going_on()])

    def has_room(self, demand: Demand) -> bool:
        """Whether another job may be submitted; SLURM decides when it runs."""
        if demand not in self._possible:
            flags = [
                f"--{name.replace('_', '-')}={value}" for name, value in _sbatch_options(self._place, demand).items()
            ]
            status, _, error = ask("sbatch", "--test-only", *flags, "--wrap=true")
            if status:
                raise _refused(error)
            self._possible.add(demand)
        return self._most is None or len(self._going_on()) < self._most

    def start(self, call: Call) -> Handle:
        """Submit a job, unless one submitted earlier still runs or waits.

        Raises:
            ConfigError: SLURM rejected it.
        """
        return self.running(call) or self._keep(_submit(self._place, call), call)

    def running(self, call: Call) -> Handle | None:
        """Find the running or pending job of a call, also of earlier processes; None if there is none."""
        number = self._queue.going_on(_name(call.folder))
        if number is None:
            return None
        known = [job for job in self._jobs if job.number == number]
        return known[0] if known else self._keep(number, call)

    def wait(self, handles: Sequence[Handle], timeout_s: float) -> None:
        """Query all jobs at once, every two seconds."""
        due_in_s = self._queue.looked_at + _LOOK_EVERY_S - time.monotonic()
        time.sleep(min(max(due_in_s, 0.0), timeout_s))
        if due_in_s <= timeout_s:
            self._queue.look()

    def _keep(self, number: str, call: Call) -> BatchJob:
        job = BatchJob(number, call.folder, self._queue)
        self._jobs.append(job)
        return job

    def _going_on(self) -> list[BatchJob]:
        self._jobs = [job for job in self._jobs if job.ended() is None]
        return self._jobs


def _submit(place: Slurm, call: Call) -> str:
    """Submit a job; returns its number."""
    import submitit

    files = call.folder / FILES
    log = str(call.folder / LOG).replace("%", "%%")
    # `exec` replaces the shell: the process receives the batch script's signals, and the job ends with it.
    submitter = submitit.SlurmExecutor(files, python=f"exec {shlex.quote(sys.executable)}")
    submitter.update_parameters(
        **_sbatch_options(place, call.demand),
        job_name=_name(call.folder),
        setup=place.setup,
        stderr_to_stdout=True,
        use_srun=False,
        additional_parameters={"output": log, "requeue": True, "signal": f"B:USR2@{_WARN_BEFORE_S}"},
    )
    try:
        return str(submitter.submit(node_main, call).job_id)
    except RuntimeError as error:  # base class of submitit's errors
        raise _refused(str(error)) from error


def _sbatch_options(place: Slurm, demand: Demand) -> dict[str, str | int]:
    """Resources of a job, by the names of sbatch's options."""
    options: dict[str, str | int | None] = {
        "partition": place.partition,
        "account": place.account,
        "time": place.time_min,
        "mem": f"{place.memory_gib}G",
        "nodes": 1,
        "cpus_per_task": demand.devices * (demand.threads + demand.workers),
        "gpus_per_node": demand.devices if demand.gpu else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _refused(error: str) -> ConfigError:
    return ConfigError(
        f"executor=slurm: sbatch rejected the job: {' '.join(error.split())}. Change executor.partition, .account, "
        ".time_min or .memory_gib; trainer.devices, trainer.threads and runtime.workers set the number of CPUs and "
        "GPUs."
    )


def _name(folder: Path) -> str:
    return f"facelab-{folder.name[:12]}"
