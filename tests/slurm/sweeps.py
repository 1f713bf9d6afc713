"""Sweeps through a real SLURM of one node: `make test-slurm`. Not collected by itself, since it needs root."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from facelab.errors import ConfigError
from facelab.sweep.executor import Demand
from facelab.sweep.slurm import Slurm
from facelab.tracking.sweeps import PARENT
from tests.conftest import TINY_CNN, free_port, server, start, wait_for_checkpoint
from tests.slurm import cluster
from tests.sweep.faults import add_choice

_WITHIN_S = 180.0
TINY = tuple(text for text in TINY_CNN if not text.startswith(("data.", "model.recipe.max_images")))
LONG = ("data=faulty", "model.recipe.max_images=1000000", "runtime.checkpoint_every_s=1")
ONE_CPU = Demand(devices=1, threads=1, gpu=False, workers=0)


@pytest.fixture(scope="module", autouse=True)
def _slurm() -> Iterator[None]:
    """A cluster that lives as long as these tests."""
    above = Path(tempfile.mkdtemp(prefix="facelab-slurm-"))
    above.chmod(0o755)  # munged, a user of its own, must reach its folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.start(above / "cluster")))
        try:
            yield
        finally:
            cluster.stop(above / "cluster")
            shutil.rmtree(above)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    with server(tmp_path_factory.mktemp("server"), port):
        yield f"http://127.0.0.1:{port}"


Sweep = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def sweep(tmp_path: Path, uri: str) -> Iterator[Sweep]:
    """Start a sweep through SLURM; whatever is left of it is ended."""
    add_choice(tmp_path)
    tracking = ("tracking=server", f"tracking.uri={uri}", f"tracking.experiment={tmp_path.name}")
    started = []

    def call(*overrides: str) -> subprocess.Popen[str]:
        place = ("executor=slurm", "executor.memory_gib=2", "trainer.precision=32-true")
        started.append(start(tmp_path, "-m", *TINY, *tracking, *place, *overrides))
        return started[-1]

    yield call
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
    _slurm_says("scancel", "--state=RUNNING", "--signal=KILL", "--batch", "--me")
    _slurm_says("scancel", "--me")


@pytest.fixture
def runs(uri: str, tmp_path: Path) -> Callable[[], tuple[Run, list[Run]]]:
    """The parent run and its children."""

    def find() -> tuple[Run, list[Run]]:
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(tmp_path.name)
        assert experiment is not None
        found = list(client.search_runs([experiment.experiment_id]))
        children = [run for run in found if PARENT in run.data.tags]
        (parent,) = [run for run in found if run not in children]
        return parent, children

    return find


def _slurm_says(*command: str) -> str:
    return subprocess.run(command, text=True, capture_output=True, check=False).stdout.strip()


def _jobs(states: str = "all") -> dict[str, str]:
    """State of each job, by its number."""
    lines = _slurm_says("squeue", "--me", f"--states={states}", "--noheader", "--format=%i %T").splitlines()
    return dict(line.split() for line in lines)


def _job_of(run: Path) -> str:
    """Number of the only job that a run ever had."""
    (number,) = {path.name.partition("_")[0] for path in (run / "slurm").glob("*_submitted.pkl")}
    return number


def _wait_until(true: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_slurm_itself_works(tmp_path: Path) -> None:
    """A job that is done, one that is cancelled, one that kills itself, one that is requeued."""

    def submit(script: str) -> str:
        output = f"--output={tmp_path}/%j.txt"
        return _slurm_says("sbatch", "--parsable", "--mem=50M", "--requeue", output, f"--wrap={script}")

    def wait_for(number: str, state: str) -> None:
        deadline = time.monotonic() + 30
        while _jobs().get(number) != state:
            assert time.monotonic() < deadline, f"job {number} is not {state}: {_jobs()}"
            time.sleep(0.1)

    done, cancelled, killed = submit("true"), submit("sleep 600"), submit("kill -9 $$")
    again = submit(f"echo begun >>{tmp_path}/again; test $(wc -l <{tmp_path}/again) = 2 || sleep 600")
    wait_for(cancelled, "RUNNING")
    wait_for(again, "RUNNING")
    _slurm_says("scancel", cancelled)
    _slurm_says("scontrol", "requeue", again)
    for number, state in ((done, "COMPLETED"), (cancelled, "CANCELLED"), (killed, "FAILED"), (again, "COMPLETED")):
        wait_for(number, state)
    assert (tmp_path / "again").read_text() == "begun\n" * 2


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Slurm().check(tracking_is_server=True)
    with pytest.raises(ConfigError, match=r"tracking=server tracking\.uri="):
        Slurm().check(tracking_is_server=False)
    with pytest.raises(ConfigError, match="Invalid partition"):
        Slurm(partition="none").executor(None).has_room(ONE_CPU)
    with pytest.raises(ConfigError, match="node configuration is not available"):
        Slurm().executor(None).has_room(Demand(devices=100, threads=1, gpu=False, workers=0))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=re.escape("sbatch, srun, squeue, scancel, scontrol")):
        Slurm().check(tracking_is_server=True)


def test_jobs_that_die_harm_no_other(sweep: Sweep, runs: Callable[[], tuple[Run, list[Run]]], tmp_path: Path) -> None:
    process = sweep("data=faulty", "model.recipe.max_images=32", "data.how=none,sigkill,raise,wait")
    _wait_until((tmp_path / "waiting-0").exists, process)
    waiting = [job for job in _jobs("RUNNING") if _script_of(job, tmp_path, "wait")]
    assert len(waiting) == 1
    _slurm_says("scancel", *waiting)
    out, _ = process.communicate(timeout=_WITHIN_S)
    assert process.returncode == 1
    parent, children = runs()
    assert parent.info.status == "FAILED"
    ends = {json.loads(run.data.tags["sweep.point"])["data.how"]: run for run in children}
    assert {how: run.info.status for how, run in ends.items()} == {
        "none": "FINISHED",
        "sigkill": "FAILED",
        "raise": "FAILED",
        "wait": "FAILED",
    }, out
    assert "SIGKILL" in ends["sigkill"].data.tags["reason"]
    assert ends["raise"].data.tags["reason"] == "RuntimeError: on purpose"
    assert "was cancelled in SLURM" in ends["wait"].data.tags["reason"]
    assert "Traceback" in (tmp_path / "runs" / ends["raise"].info.run_id / "log.txt").read_text()


def test_a_requeued_job_goes_on_also_when_the_sweep_is_killed_and_started_again(
    sweep: Sweep, runs: Callable[[], tuple[Run, list[Run]]], tmp_path: Path
) -> None:
    asked = ("data=faulty", "model.recipe.max_images=20000", "runtime.checkpoint_every_s=1", "seed=choice(1)")
    first = sweep(*asked)
    run = wait_for_checkpoint(tmp_path, first)
    os.killpg(first.pid, signal.SIGKILL)
    number = _job_of(run)
    _slurm_says("scontrol", "requeue", number)
    second = sweep(*asked)
    out, _ = second.communicate(timeout=_WITHIN_S)
    assert second.returncode == 0, out
    assert _job_of(run) == number
    parent, (child,) = runs()
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert child.info.run_id == run.name
    log = (run / "log.txt").read_text()
    assert re.search(r"Resuming .* after [\d,]+ of", log), log
    assert "Restarts=1" in _slurm_says("scontrol", "show", "job", number)


def test_ctrl_c_lets_the_running_job_save_and_cancels_the_waiting_one(
    sweep: Sweep, runs: Callable[[], tuple[Run, list[Run]]], tmp_path: Path
) -> None:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    process = sweep(*LONG, "seed=1,2", f"executor.memory_gib={memory_gib * 2 // 3}")  # room for one
    run = wait_for_checkpoint(tmp_path, process)
    _wait_until(lambda: sorted(_jobs("PENDING,RUNNING").values()) == ["PENDING", "RUNNING"], process)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=_WITHIN_S)
    assert process.returncode == 130, out
    assert not _jobs("PENDING,RUNNING,COMPLETING")
    parent, children = runs()
    assert parent.info.status == "KILLED"
    assert [child.info.status for child in children] == ["KILLED", "KILLED"]
    assert list((run / "checkpoints").iterdir())
    assert (run / "slurm" / f"{_job_of(run)}_word.txt").read_text() == "interrupted"


def test_ctrl_c_twice_leaves_nothing_behind(
    sweep: Sweep, runs: Callable[[], tuple[Run, list[Run]]], tmp_path: Path
) -> None:
    process = sweep(*LONG, "seed=choice(1)")
    run = wait_for_checkpoint(tmp_path, process)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130, out
    assert not _jobs("PENDING,RUNNING,COMPLETING")
    working = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not any(str(run / "slurm").encode() in command for command in working)
    _, (child,) = runs()
    assert child.info.status == "KILLED"


def test_a_job_of_two_processes_saves_before_its_time_is_up(
    sweep: Sweep, runs: Callable[[], tuple[Run, list[Run]]], tmp_path: Path
) -> None:
    process = sweep(*LONG, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "seed=choice(1)")
    run = wait_for_checkpoint(tmp_path, process)
    assert "NumCPUs=2" in _slurm_says("scontrol", "show", "job", _job_of(run))
    _slurm_says("scontrol", "update", f"JobId={_job_of(run)}", "TimeLimit=2")
    out, _ = process.communicate(timeout=_WITHIN_S)
    assert process.returncode == 130, out
    assert "its time limit" in (run / "slurm" / f"{_job_of(run)}_word.txt").read_text()
    _, (child,) = runs()
    assert child.info.status == "KILLED"
    assert list((run / "checkpoints").iterdir())


def test_a_job_that_a_partition_never_runs_is_a_failure(
    sweep: Sweep, runs: Callable[[], tuple[Run, list[Run]]]
) -> None:
    process = sweep("data=faulty", "seed=choice(1)", "executor.partition=short")
    out, _ = process.communicate(timeout=_WITHIN_S)
    assert process.returncode == 1, out
    _, (child,) = runs()
    assert "lower executor.time_min (PartitionTimeLimit)" in child.data.tags["reason"]


def _script_of(job: str, folder: Path, how: str) -> bool:
    """Whether a job trains on faces of that kind."""
    (submitted,) = (folder / "runs").glob(f"*/slurm/{job}_submitted.pkl")
    return f"how: {how}" in (submitted.parents[1] / "config.yaml").read_text()
