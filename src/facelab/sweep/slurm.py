"""The jobs of a sweep on a SLURM cluster, each a batch job of one node."""

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from facelab.errors import ConfigError, FacelabError, Interrupted
from facelab.sweep.executor import Call, Demand, Ending, Executor, Handle, Place
from facelab.sweep.worker import DONE, LOG, run_job
from facelab.training.interrupt import StopRequest

_FILES = "slurm"  # folder of a run: what was submitted, and each job's last word
_COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
_LOOK_EVERY_S = 2.0
_ANSWER_WITHIN_S = 60.0
_WORD_LATE_S = 15.0  # files written on a node show up late on a network file system
_GRACE_S = 10.0
_WARN_BEFORE_S = 120  # its time is up: enough for a checkpoint
# What tells Lightning that srun had started one process for each device: here we start them.
_OF_SRUN = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE")
# All other states go on by themselves; a requeued job is pending.
_ENDED = frozenset(
    {
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY"),
        *("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"),
    }
)
_HOPELESS = {
    "PartitionTimeLimit": "the partition does not allow so long a job: lower executor.time_min",
    "BadConstraints": "no node can give what it asks for",
    "launch failed requeued held": "it could not be started on its node, and is held",
}
_INTERRUPTED = "interrupted"
_NEVER_BEGAN = 53  # in place of a signal: its folder or its log could not be written on the node


class Slurm(Place):
    """Batch jobs of a SLURM cluster, one a run, each on one node.

    The folder of runs and the Python environment must be on a file system that the nodes share. A job asks for
    `trainer.devices` x (`trainer.threads` + `runtime.workers`) CPUs and, on GPUs, for `trainer.devices` of them. Two
    minutes before its time is up it saves a checkpoint and stops; the same command goes on with it.

    Args:
        partition: of the cluster; null for its default.
        account: that is charged; null for the user's default.
        time_min: minutes that a job may take.
        memory_gib: memory of a job.
        setup: lines of shell before a job's process, such as `module load cuda`.
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
        """See that there are a tracking server, submitit, and SLURM's commands."""
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
        """One, as on one machine: the same config is the same run in both places. trainer.threads gives more."""
        return 1

    def executor(self, jobs: int | None) -> "BatchJobs":
        """Batch jobs of the cluster."""
        return BatchJobs(self, jobs)


class BatchJobs(Executor):
    """Batch jobs of the cluster.

    Args:
        place: what each asks for.
        jobs: how many at a time are submitted at most; None for all, since SLURM has a queue of its own.
    """

    def __init__(self, place: Slurm, jobs: int | None) -> None:
        self._place, self._most = place, jobs
        self._queue = _Queue()
        self._jobs: list[_BatchJob] = []
        self._possible: set[Demand] = set()

    def __enter__(self) -> "BatchJobs":
        """See that SLURM answers.

        Raises:
            ConfigError: it does not.
        """
        trouble = self._queue.look()
        if trouble:
            raise ConfigError(f"executor=slurm: SLURM does not answer: {trouble}")
        return self

    def __exit__(self, *_: Any) -> None:
        """Cancel what still runs or waits."""
        self._queue.cancel([job.number for job in self._going_on()])

    def has_room(self, demand: Demand) -> bool:
        """Whether less than the asked number of jobs is submitted; what fits where is SLURM's to know."""
        if demand not in self._possible:
            flags = [f"--{name.replace('_', '-')}={value}" for name, value in _asked(self._place, demand).items()]
            status, _, error = _ask("sbatch", "--test-only", *flags, "--wrap=true")
            if status:
                raise _refused(error)
            self._possible.add(demand)
        return self._most is None or len(self._going_on()) < self._most

    def start(self, call: Call) -> Handle:
        """Submit a job, unless an earlier process of this sweep did and it still runs or waits.

        Raises:
            ConfigError: SLURM refused it.
        """
        return self.running(call) or self._keep(_submit(self._place, call), call)

    def running(self, call: Call) -> Handle | None:
        """The job of a call that runs or waits, whoever submitted it; None if there is none."""
        number = self._queue.going_on(_name(call.folder))
        if number is None:
            return None
        known = [job for job in self._jobs if job.number == number]
        return known[0] if known else self._keep(number, call)

    def wait(self, handles: Sequence[Handle], timeout_s: float) -> None:
        """Ask SLURM every other second, about all jobs at once."""
        due_in_s = self._queue.looked_at + _LOOK_EVERY_S - time.monotonic()
        time.sleep(min(max(due_in_s, 0.0), timeout_s))
        if due_in_s <= timeout_s:
            self._queue.look()

    def _keep(self, number: str, call: Call) -> "_BatchJob":
        job = _BatchJob(number, call.folder, self._queue)
        self._jobs.append(job)
        return job

    def _going_on(self) -> list["_BatchJob"]:
        self._jobs = [job for job in self._jobs if job.ended() is None]
        return self._jobs


@dataclass(frozen=True)
class _Seen:
    name: str
    state: str
    reason: str


class _Queue:
    """What SLURM said last about the jobs of this user."""

    def __init__(self) -> None:
        self.looked_at = float("-inf")  # on the monotonic clock, in s; of the last answer
        self._seen: dict[str, _Seen] = {}
        self._silent = False

    def look(self) -> str:
        """Ask; returns what is wrong if there is no answer, and nothing is known anew then."""
        began = time.monotonic()
        status, out, error = _ask("squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%r|%j")
        if status:
            if not self._silent and self._seen:
                print(f"Note: SLURM does not answer, asking on: {error}", file=sys.stderr, flush=True)
            self._silent = True
            return error or f"squeue left with status {status}"
        self._silent, self.looked_at = False, began
        self._seen.clear()
        for line in out.splitlines():
            number, state, reason, name = line.split("|", 3)
            self._seen[number] = _Seen(name, state, reason.replace("_", " "))
        return ""

    def of(self, number: str) -> _Seen | None:
        return self._seen.get(number)

    def going_on(self, name: str) -> str | None:
        """Number of the job of that name that has not ended."""
        found = [number for number, seen in self._seen.items() if seen.name == name and seen.state not in _ENDED]
        return found[0] if found else None

    def cancel(self, numbers: Sequence[str]) -> None:
        """End jobs at once, and wait until they have gone."""
        if not numbers:
            return
        # scancel alone lets a job go on for a while, and write into a run that is closed by then.
        _ask("scancel", "--quiet", "--state=RUNNING", "--signal=KILL", "--batch", *numbers)
        _ask("scancel", "--quiet", *numbers)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline:
            self.look()
            seen = [self._seen.get(number) for number in numbers]
            if all(job is None or job.state in _ENDED for job in seen):
                return
            time.sleep(0.3)


class _BatchJob(Handle):
    def __init__(self, number: str, folder: Path, queue: _Queue) -> None:
        self.number = number
        self._folder, self._queue = folder, queue
        self._known_at = time.monotonic()
        self._silent_since: float | None = None
        self._ending: Ending | None = None

    def ended(self) -> Ending | None:
        """Done only if it said so and left with status 0: neither alone is proof."""
        if self._ending is None:
            self._ending = self._judge()
        return self._ending

    def stop(self) -> None:
        """SIGTERM to its main process, which tells the others; one that waits is cancelled."""
        _ask("scancel", "--quiet", "--state=PENDING", self.number)
        _ask("scancel", "--quiet", "--state=RUNNING", "--signal=TERM", "--batch", self.number)

    def kill(self) -> None:
        """All its processes."""
        self._queue.cancel([self.number])

    def close(self) -> None:
        """Nothing is held here."""

    def _judge(self) -> Ending | None:
        seen = self._queue.of(self.number)
        if seen is None and self._queue.looked_at < self._known_at:
            return None  # submitted since
        if seen is not None and seen.state not in _ENDED:
            hope = _HOPELESS.get(seen.reason)
            if seen.state != "PENDING" or hope is None:
                return None
            _ask("scancel", "--quiet", self.number)
            return Ending(False, f"SLURM cannot run job {self.number}: {hope} ({seen.reason})")
        code, number = _exit_code(self.number)
        state = seen.state if seen else "FORGOTTEN"  # some minutes after a job's end, SLURM does
        word = self._word(may_come=number == 0)
        if word is None:
            return None
        if word == DONE and state in ("COMPLETED", "FORGOTTEN"):
            return Ending(True)
        if word and word != DONE and not (word == _INTERRUPTED and state != "FAILED"):
            return Ending(False, word)
        return Ending(False, _reason(self.number, state, code, number))

    def _word(self, may_come: bool) -> str | None:
        """Its last word, empty if there is none; None while one may still come."""
        path = _word_file(self._folder, self.number)
        if path.parent.is_dir():
            list(path.parent.iterdir())  # has a network file system look again
        if path.is_file():
            return path.read_text(encoding="utf-8")
        self._silent_since = self._silent_since or time.monotonic()
        return None if may_come and time.monotonic() - self._silent_since < _WORD_LATE_S else ""


def work(call: Call) -> None:
    """What runs on the node: the job, and its last word into a file.

    Args:
        call: the job.

    Raises:
        SystemExit: it is not done.
    """
    word = _word_file(call.folder, os.environ["SLURM_JOB_ID"])
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
            run_job(call)
        except (KeyboardInterrupt, Interrupted):
            _say(word, "its time on the cluster was up; the same command goes on with it" if late else _INTERRUPTED)
            raise SystemExit(130) from None
        except BaseException as error:  # SystemExit too: a library that leaves with status 0 has not trained
            if isinstance(error, FacelabError):
                print(f"Error: {error}", file=sys.stderr)
            else:
                traceback.print_exc()
            _say(word, f"{type(error).__name__}: {error}")
            raise SystemExit(1) from error
        _say(word, DONE)


def _submit(place: Slurm, call: Call) -> str:
    """The number of the new job."""
    import submitit

    files = call.folder / _FILES
    log = str(call.folder / LOG).replace("%", "%%")
    # The process takes the shell's place: signals to the batch script are for it, and its end is the job's.
    submitter = submitit.SlurmExecutor(files, python=f"exec {shlex.quote(sys.executable)}")
    submitter.update_parameters(
        **_asked(place, call.demand),
        job_name=_name(call.folder),
        setup=place.setup,
        stderr_to_stdout=True,
        use_srun=False,
        additional_parameters={"output": log, "requeue": True, "signal": f"B:USR2@{_WARN_BEFORE_S}"},
    )
    try:
        return str(submitter.submit(work, call).job_id)
    except RuntimeError as error:  # of submitit's own kinds
        raise _refused(str(error)) from error


def _asked(place: Slurm, demand: Demand) -> dict[str, str | int]:
    """What a job asks SLURM for, by sbatch's own names."""
    asked: dict[str, str | int | None] = {
        "partition": place.partition,
        "account": place.account,
        "time": place.time_min,
        "mem": f"{place.memory_gib}G",
        "nodes": 1,
        "cpus_per_task": demand.devices * (demand.threads + demand.workers),
        "gpus_per_node": demand.devices if demand.gpu else None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _refused(error: str) -> ConfigError:
    return ConfigError(
        f"executor=slurm: sbatch refuses the job: {' '.join(error.split())}. See executor.partition, .account, "
        ".time_min and .memory_gib; trainer.devices, trainer.threads and runtime.workers say how many CPUs (or GPUs) "
        "it takes."
    )


def _exit_code(number: str) -> tuple[int, int]:
    """Exit status and signal of a job that has ended, or zeros."""
    _, out, _ = _ask("scontrol", "--oneliner", "show", "job", number)
    fields = dict(field.split("=", 1) for field in out.split() if "=" in field)
    status, _, ended_by = fields.get("ExitCode", "0:0").partition(":")
    return int(status), int(ended_by)


def _reason(job: str, state: str, code: int, number: int) -> str:
    """Why a job ended that left no word, for people."""
    match state:
        case "OUT_OF_MEMORY":
            return f"SLURM ended job {job}: it took more memory than it may; executor.memory_gib gives it more"
        case "TIMEOUT" | "DEADLINE":
            return f"SLURM ended job {job}: its time was up ({state}); executor.time_min gives it more"
        case "NODE_FAIL" | "BOOT_FAIL":
            return f"the node of job {job} failed ({state})"
        case "CANCELLED":
            return f"job {job} was cancelled in SLURM (scancel)"
        case "FORGOTTEN":
            return f"job {job} left without a word, and SLURM no longer knows how"
        case "PREEMPTED" | "REVOKED":
            return f"SLURM gave the place of job {job} to another ({state})"
    if number == _NEVER_BEGAN:
        return f"job {job} could not write its folder on its node: the nodes must share the folder of runs"
    if number:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = "; SLURM or the system does so when memory runs out" if name == "SIGKILL" else ""
        return f"the process of job {job} was ended by {name}{hint}"
    return f"the process of job {job} left without a word, with status {code} ({state})"


def _name(folder: Path) -> str:
    return f"facelab-{folder.name[:12]}"


def _word_file(folder: Path, number: str) -> Path:
    return folder / _FILES / f"{number}_word.txt"


def _say(path: Path, word: str) -> None:
    """Whole or not at all."""
    beside = path.with_suffix(".new")
    beside.write_text(word, encoding="utf-8")
    beside.replace(path)


def _ask(*command: str) -> tuple[int, str, str]:
    """Exit status, output and error of one of SLURM's commands."""
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=_ANSWER_WITHIN_S)
    except subprocess.TimeoutExpired:
        return 1, "", f"no answer in {_ANSWER_WITHIN_S:.0f} s"
    return done.returncode, done.stdout, done.stderr.strip()
