"""Long sweeps that are treated badly. Slow: minutes each."""

import random
import re
import subprocess
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from facelab.tracking.spool import Spool
from facelab.tracking.sweeps import PARENT, SUPERSEDED
from tests.conftest import TINY_CNN, start
from tests.sweep.faults import add_choice

pytestmark = pytest.mark.slow

FAULTY = (
    "data=faulty",
    *(override for override in TINY_CNN if not override.startswith("data.")),
    "model.recipe.max_images=16",
)


def _start(folder: Path, *overrides: str) -> "subprocess.Popen[str]":
    add_choice(folder)
    return start(folder, "-m", *FAULTY, *overrides)


def _children(folder: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("facelab")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`{PARENT}` LIKE '%'", max_results=5000)
    return [run for run in runs if SUPERSEDED not in run.data.tags]


def test_ten_of_a_hundred_jobs_crash_and_memory_stays_constant(tmp_path: Path) -> None:
    """Children start within half a second of one another's end (printed: a timing is not asserted)."""
    process = _start(tmp_path, "data.number=range(100)", "data.how=by_number", "sweep.jobs=1")
    resident: list[int] = []
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        if 0 < len(list(tmp_path.glob("runs/*/log.txt"))) < 100:  # before the report at the end
            resident.append(watched.memory_info().rss)
        time.sleep(1)
    output = process.communicate()[0]
    assert process.returncode == 1, output
    children = _children(tmp_path)
    assert len(children) == 100
    assert Counter(run.info.status for run in children) == {"FINISHED": 90, "FAILED": 10}
    assert len({run.data.tags["sweep.point"] for run in children}) == 100
    assert all(run.data.tags["reason"] for run in children if run.info.status == "FAILED")
    early, late = max(resident[: len(resident) // 3]), max(resident[-len(resident) // 3 :])
    gaps = _gaps(tmp_path)
    print(f"parent's memory {early / 2**20:.0f}, later {late / 2**20:.0f} MiB; ", end="")
    print(f"from a job's end to the next one's first line: median {gaps[len(gaps) // 2]:.2f}, most {gaps[-1]:.2f} s")
    assert late < early + 20 * 2**20


def _gaps(folder: Path) -> list[float]:
    """Seconds from the end of one job to the start of the next."""
    begins, ends = [], []
    for log in folder.glob("runs/*/log.txt"):
        text = log.read_text()
        begins += [datetime.fromisoformat(found) for found in re.findall(r"started at (.+)", text)]
        ends += [datetime.fromisoformat(found) for found in re.findall(r"done at (.+)", text)]
    following = [min((begin for begin in begins if begin > end), default=None) for end in ends]
    return sorted(
        (begin - end).total_seconds() for begin, end in zip(following, ends, strict=True) if begin is not None
    )


def test_a_sweep_killed_ten_times_ends_as_the_same_set_and_trains_nothing_twice(tmp_path: Path) -> None:
    randomly = random.Random(0)
    arguments = (
        "data.number=range(60)",
        "model.recipe.max_images=320",
        "sweep.jobs=2",
        "runtime.checkpoint_every_s=0.2",
    )
    for _ in range(10):
        process = _start(tmp_path, *arguments)
        begun = len(list(tmp_path.glob("runs/*/log.txt")))
        deadline = time.monotonic() + 300
        while len(list(tmp_path.glob("runs/*/log.txt"))) == begun and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(randomly.uniform(0, 8))
        process.kill()
        process.communicate()
    process = _start(tmp_path, *arguments)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    children = _children(tmp_path)
    assert len(children) == 60
    assert len({run.data.tags["sweep.point"] for run in children}) == 60
    assert {run.info.status for run in children} == {"FINISHED"}
    for run in children:
        items = Spool(tmp_path / "runs" / run.info.run_id).items()
        assert [item["status"] for item in items if item.get("status") == "FINISHED"] == ["FINISHED"]
        steps = [item["step"] for item in items if "train/loss" in item.get("metrics", {})]
        assert len(steps) == len(set(steps))


def test_two_sweeps_started_together_share_a_fresh_store(tmp_path: Path) -> None:
    for repeat in range(20):
        folder = tmp_path / str(repeat)
        folder.mkdir()
        both = [_start(folder, "data.number=0,1", f"sweep.name={name}") for name in ("left", "right")]
        outputs = [process.communicate()[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        assert not [output for output in outputs if "locked" in output]
        client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        names = [experiment.name for experiment in client.search_experiments() if experiment.name != "Default"]
        assert names == ["facelab"]
        assert len(_children(folder)) == 4
