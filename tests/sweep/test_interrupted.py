"""Sweeps that are stopped, in real processes."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run

from tests.conftest import TINY_CNN, start
from tests.sweep.family import family

Runs = Callable[[], list[Run]]
Experiment = tuple[str, str]

LONG = ("model.recipe.max_images=1600000", "seed=1,2", "sweep.jobs=2")
OFTEN = "runtime.checkpoint_every_s=0.5"


def _wait_for(what: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _processes_in(folder: Path) -> list[int]:
    """Live processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if (entry / "cwd").resolve() == folder and state != "Z":
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_ctrl_c_stops_all_jobs_at_a_checkpoint_and_says_how_to_go_on(
    tmp_path: Path, experiment: Experiment, runs: Runs
) -> None:
    process = start(tmp_path, "-m", *TINY_CNN, *experiment, *LONG, "runtime.workers=2", "runtime.checkpoint_every_s=60")

    def both_train() -> bool:
        return sum("train/loss" in path.read_text() for path in tmp_path.glob("runs/*/spool.jsonl")) == 2

    _wait_for(both_train, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the sweep and not to its jobs, which lead groups
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "To resume: python train.py -m" in output
    parent, children = family(runs())
    assert [run.info.status for run in (parent, *children)] == ["KILLED"] * 3
    for child in children:
        folder = tmp_path / "runs" / child.info.run_id
        assert list((folder / "checkpoints").glob("*.ckpt")), (folder / "log.txt").read_text()
        assert "Traceback" not in (folder / "log.txt").read_text()
    assert not _processes_in(tmp_path)


@pytest.mark.slow
def test_kill_9_of_the_sweep_takes_its_jobs_along_and_they_go_on_later(
    tmp_path: Path, experiment: Experiment, runs: Runs
) -> None:
    process = start(tmp_path, "-m", *TINY_CNN, *experiment, *LONG, OFTEN)
    _wait_for(lambda: len({path.parent for path in tmp_path.glob("runs/*/checkpoints/*.ckpt")}) == 2, process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while _processes_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _processes_in(tmp_path)

    process = start(tmp_path, "-m", *TINY_CNN, *experiment, *LONG, OFTEN)
    logs = [path.parent / "log.txt" for path in tmp_path.glob("runs/*/checkpoints")]
    _wait_for(lambda: all("Resuming" in log.read_text() for log in logs), process)
    os.killpg(process.pid, signal.SIGTERM)  # reaches the process that jobs are forked from, too
    output, _ = process.communicate(timeout=60)
    assert "2 jobs, 2 to resume" in output
    assert [run.info.status for run in family(runs())[1]] == ["KILLED", "KILLED"]
    assert "failed" not in output
