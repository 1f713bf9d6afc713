"""Runs found again, and what may be typed beside `resume=`: real configs, a real store, and nothing is trained."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from facelab.commands.train import check_training
from facelab.config.check import plain
from facelab.config.compose import config_folder
from facelab.config.texts import typed_values
from facelab.errors import ConfigError, DataError
from facelab.runs.begin import begin, resolved
from facelab.runs.resume import InterruptedRun, find
from facelab.runs.run import run_job
from facelab.tracking import SqliteStore, TrackedRun
from tests.conftest import TINY_GAN, Command

Find = Callable[..., InterruptedRun]


def _composed(*overrides: str) -> tuple[dict[str, Any], set[str], dict[str, Any]]:
    """A checked config, the keys typed for it, and the config without them."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("train", [*overrides], return_hydra_config=True)
        return check_training(composed), {*typed_values(composed.hydra)}, plain(compose("train"))


@pytest.fixture
def typed(tmp_path: Path, experiment: tuple[str, str]) -> list[str]:
    """The command line of a run."""
    return ["model=gan", *TINY_GAN, *experiment, "seed=7", f"runtime.runs_folder={tmp_path}"]


@pytest.fixture
def run(typed: list[str]) -> TrackedRun:
    return begin(resolved(_composed(*typed)[0]), {"model": "gan"})


@pytest.fixture
def resume(run: TrackedRun, tmp_path: Path) -> Find:
    """Find the run by a command line."""

    def call(*overrides: str) -> InterruptedRun:
        config, keys, default = _composed(f"runtime.runs_folder={tmp_path}", *overrides)
        return find(run.id, config, default, keys)

    return call


def test_a_typed_default_of_the_runtime_takes_effect(resume: Find) -> None:
    assert resume().config["runtime"]["workers"] == 0
    assert resume("runtime.workers=2").config["runtime"]["workers"] == 2


def test_the_runs_own_command_line_is_accepted(resume: Find, run: TrackedRun, typed: list[str]) -> None:
    found = resume(*typed)
    assert found.tracked.id == run.id
    assert found.config["seed"] == 7
    assert found.config["trainer"]["precision"] != "auto"  # which `trainer=cpu` leaves open and the run does not


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("model=cnn", "model._target_ is 'facelab.models.CNN' now and 'facelab.models.VAEGAN' in the run"),
        ("seed=1", "seed is 1 now and 7 in the run"),
        ("tracking.experiment=facelab", "tracking.experiment is 'facelab' now and 'test_"),
        ("sweep.jobs=4", "sweep.jobs is 4 now and absent in the run"),
        ("search=tpe", "search._target_ is "),
        ("executor=local", "executor._target_ is "),
        ("trainer.validations=20", "trainer.validations is 20 now and 2 in the run"),
        ("~protocol.generation", "protocol.generation._target_ is absent now"),
    ],
    ids=lambda text: text.partition(" ")[0],
)
def test_other_values_than_the_runs_are_refused(resume: Find, argument: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        resume(argument)


def test_a_sweep_is_not_offered_as_a_run(facelab: Command, run: TrackedRun, store_folder: Path, tmp_path: Path) -> None:
    sweep = TrackedRun.create(SqliteStore(str(store_folder)), "pairs", {}, tmp_path)
    evaluation = TrackedRun.create(SqliteStore(str(store_folder)), "evaluated", {}, tmp_path)
    (evaluation.folder / "config.yaml").write_text(f"evaluates: {run.id}\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "spool.jsonl").touch()  # as a full disk leaves it

    outcome = facelab("train", "resume=0123", f"runtime.runs_folder={tmp_path}")
    assert outcome.status == 2
    assert "resume=0123: there is no such run" in outcome.error
    assert f"Unfinished runs: {run.id} ({run.name})." in outcome.error
    outcome = facelab("train", f"resume={sweep.id}", f"runtime.runs_folder={tmp_path}")
    assert outcome.status == 2
    assert "'pairs' has no config.yaml: it is a sweep" in outcome.error
    assert "no such run" not in outcome.error


def test_a_job_keeps_checkpoints_that_could_not_be_read(experiment: tuple[str, str], tmp_path: Path) -> None:
    gone = ("data=folder", f"data.root={tmp_path / 'gone'}")  # so that the job ends before it trains
    config, *_ = _composed(*experiment, *gone, "trainer=cpu", f"runtime.runs_folder={tmp_path}")
    run = begin(resolved(config), {"model": "cnn"})
    (run.folder / "checkpoints").mkdir()
    (run.folder / "checkpoints" / "images=000000000064.ckpt").write_bytes(b"as of a disk that does not answer")
    with pytest.raises(DataError, match="gone"):
        run_job(run.folder, {"workers": 0}, {})
    (kept,) = (run.folder / "checkpoints").iterdir()
    assert kept.name == "images=000000000064.unusable"
    assert kept.read_bytes() == b"as of a disk that does not answer"
