"""The sweep as one object, with real jobs in real processes."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from facelab.tracking import TrackedRun
from tests.conftest import TINY_CNN, TINY_GAN, Command
from tests.runs.synthetic import generator_of
from tests.sweep.family import family
from tests.sweep.faults import add_choice

Runs = Callable[[], list[Run]]
Experiment = tuple[str, str]

FAULTY = (
    "data=faulty",
    *(override for override in TINY_CNN if not override.startswith("data.")),
    "model.recipe.max_images=32",
)


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds `data=faulty` to the choices."""
    add_choice(tmp_path)
    monkeypatch.setenv("FACELAB_ALLOW", "tests")


def _points(runs: list[Run]) -> list[dict[str, str]]:
    return [json.loads(run.data.tags["sweep.point"]) for run in runs]


def test_a_sweep_is_a_parent_and_its_children_and_a_second_time_trains_only_what_is_missing(
    facelab: Command, experiment: Experiment, runs: Runs, tmp_path: Path
) -> None:
    sweep = ("train", "-m", "model=cnn,cnn_arcface", *TINY_CNN, *experiment, "sweep.name=two")
    outcome = facelab(*sweep, "seed=1,2")
    assert outcome.status == 0, outcome.error
    parent, children = family(runs())
    assert parent.info.status == "FINISHED"
    assert json.loads(parent.data.tags["sweep.axes"]) == {"model": ["cnn", "cnn_arcface"], "seed": ["1", "2"]}
    assert "sweep.name=two" in parent.data.tags["sweep.command"]
    assert parent.data.metrics["sweep/finished"] == 4
    assert {child.info.run_name for child in children} == {
        *("cnn · seed=1", "cnn · seed=2", "cnn_arcface · seed=1", "cnn_arcface · seed=2")
    }
    models = [(child.data.params["model"], child.data.params["seed"]) for child in children]
    assert sorted(models) == [("cnn", "1"), ("cnn", "2"), ("cnn_arcface", "1"), ("cnn_arcface", "2")]
    assert all(child.info.status == "FINISHED" and "test/f1" in child.data.metrics for child in children)
    log = tmp_path / "runs" / children[0].info.run_id / "log.txt"
    assert "F1 (macro)" in log.read_text()

    outcome = facelab(*sweep, "seed=1,2,3")
    assert outcome.status == 0, outcome.error
    assert "6 jobs, 4 finished before" in outcome.out
    again, more = family(runs())
    assert again.info.run_id == parent.info.run_id
    assert json.loads(again.data.tags["sweep.axes"])["seed"] == ["1", "2", "3"]
    assert {run.info.run_id for run in children} < {run.info.run_id for run in more}
    assert len(more) == 6


def test_jobs_that_crash_in_every_way_harm_no_other_and_are_tried_again(
    facelab: Command, experiment: Experiment, runs: Runs, faulty: None, tmp_path: Path, client: MlflowClient
) -> None:
    ways = {
        "raise": "RuntimeError: on purpose",
        "exit_0": "ended with status 0",
        "exit_3": "ended with status 3",
        "system_exit": "SystemExit: 0",
        "segfault": "SIGSEGV",
        "sigkill": "SIGKILL; the usual cause is lack of memory",
        "once": "not mended yet",
    }
    sweep = ("train", "-m", *FAULTY, *experiment, f"data.how={','.join(ways)},none")
    outcome = facelab(*sweep)
    assert outcome.status == 1
    parent, children = family(runs())
    assert parent.info.status == "FAILED"
    assert parent.data.tags["reason"] == "7 of 8 jobs failed"
    assert len(children) == 8
    for child, point in zip(children, _points(children), strict=True):
        assert child.info.status == ("FINISHED" if point["data.how"] == "none" else "FAILED")
        if point["data.how"] != "none":
            assert ways[point["data.how"]] in child.data.tags["reason"]
            assert ways[point["data.how"]] in outcome.out
            assert ways[point["data.how"]] in outcome.error.split("7 of 8 jobs failed:")[1]
        if point["data.how"] == "raise":
            assert "log.txt" in [item.path for item in client.list_artifacts(child.info.run_id)]
            assert "Traceback" in (tmp_path / "runs" / child.info.run_id / "log.txt").read_text()

    (tmp_path / "mended").touch()
    outcome = facelab(*sweep)
    assert "1 finished before, 7 to resume" in outcome.out
    _, again = family(runs())
    assert sorted(run.info.run_id for run in again) == sorted(run.info.run_id for run in children)
    for child, point in zip(again, _points(again), strict=True):
        assert child.info.status == ("FINISHED" if point["data.how"] in ("none", "once") else "FAILED")


def test_a_loss_that_is_no_number_is_a_failed_job(facelab: Command, experiment: Experiment, runs: Runs) -> None:
    rates = ("model.recipe.max_images=320", "model.optimizer.lr=1e30,1e-3")
    outcome = facelab("train", "-m", *TINY_CNN, *experiment, *rates)
    assert outcome.status == 1
    assert "NaN" in outcome.error
    _, children = family(runs())
    assert [run.info.status for run in children] == ["FAILED", "FINISHED"]
    assert [run.info.run_name for run in children] == ["cnn · lr=1e+30", "cnn · lr=0.001"]


@pytest.mark.slow
def test_a_result_stays_until_its_replacement_has_finished(
    facelab: Command, experiment: Experiment, runs: Runs, faulty: None, tmp_path: Path
) -> None:
    file = tmp_path / "conf" / "data" / "faulty.yaml"
    text = file.read_text()
    sweep = ("train", "-m", *FAULTY, *experiment, "seed=1")
    assert facelab(*sweep).status == 0
    file.write_text(text.replace("how: none", "how: once"))
    outcome = facelab(*sweep)
    assert outcome.status == 1
    assert "2 runs: 1 finished, 1 failed" in outcome.out
    (tmp_path / "mended").touch()
    outcome = facelab(*sweep)
    assert outcome.status == 0, outcome.error
    assert "2 runs: 1 superseded, 1 finished" in outcome.out
    _, (old, new) = family(runs())
    assert old.data.tags["sweep.superseded_by"] == new.info.run_id


def test_fail_fast_stops_the_others(facelab: Command, experiment: Experiment, runs: Runs, faulty: None) -> None:
    ways = ("sweep.jobs=2", "data.how=wait,raise,none", "sweep.fail_fast=true")
    assert facelab("train", "-m", *FAULTY, *experiment, *ways).status == 1
    parent, children = family(runs())
    assert parent.info.status == "FAILED"
    assert {point["data.how"]: run.info.status for run, point in zip(children, _points(children), strict=True)} == {
        "wait": "KILLED",
        "raise": "FAILED",
    }


@pytest.mark.slow
def test_the_command_line_goes_before_the_axes_of_an_experiment(facelab: Command, tmp_path: Path) -> None:
    """`+few_shot=sweep` sweeps split.seed over ten values; three are asked for here."""
    few = ("split.train_per_identity=5,9", "split.seed=0,1", "model.recipe.max_images=16")
    outcome = facelab("train", "+few_shot=sweep", *TINY_CNN, *few)
    assert outcome.status == 0, outcome.error
    assert ": 4 jobs" in outcome.out
    assert "4 runs: 4 finished" in outcome.out


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=gan,gan_conditional", "++model.latent_dim=8"],
        ["split=few_shot,few_shot_rotated", "++split.train_per_identity=2"],
        ["data=folder", "data.root=/a,/b"],
        ["search=random", "model=cnn_arcface,cnn_adaface", "model.loss.margin_rad=interval(0.1,0.5)"],
    ],
    ids=" ".join,
)
def test_a_key_may_belong_to_a_swept_choice_or_have_swept_values_only(facelab: Command, overrides: list[str]) -> None:
    """All configs are valid, so what is refused is the store, which comes after them."""
    outcome = facelab("train", "-m", *overrides, "trainer=cpu", "tracking.folder=/proc/none")
    assert outcome.error.startswith("Error: tracking.folder")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["seeed=1,2"], ["seeed: unknown key", "'seed'"]),
        (
            ["model=gan,gan_conditional", "model.latent_dim=8"],
            ["In a sweep over model, write ++model.latent_dim="],
        ),
        (["seed=range(3,3)"], ["seed=range(3,3)", "empty"]),
        (["seed=choice()"], ["seed=choice()", "empty choice"]),
        (["seed="], ["seed"]),
        (["model.optimizer.lr=interval(1e-4,1e-2)"], ["interval", "search=tpe"]),
        (["tracking.experiment=a,b"], ["tracking.experiment: ", "cannot be swept"]),
        (["sweep.jobs=0", "seed=1,2"], ["sweep.jobs: expected"]),
        (["sweep.stale=perhaps", "seed=1,2"], ["sweep.stale", "'keep' or 'redo'"]),
        (["executor=slurm", "seed=1,2"], ["tracking=server"]),
        (["data=folder", "data.root=~/x,~/y"], ["$HOME"]),
        (["runtime.runs_folder=/dev/null", "seed=1,2"], ["runtime.runs_folder"]),
        (["tracking.folder=/proc/none", "seed=1,2"], ["tracking.folder"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and "=" in value[-1] else "",
)
def test_bad_input_is_told_before_the_first_job(
    facelab: Command, tmp_path: Path, overrides: list[str], says: list[str]
) -> None:
    outcome = facelab("train", "-m", *overrides)
    assert outcome.status in (1, 2)
    assert outcome.error.startswith("Error: ")
    for words in says:
        assert words in outcome.error
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_name_belongs_to_one_sweep(facelab: Command, experiment: Experiment, runs: Runs) -> None:
    sweep = ("train", "-m", *TINY_CNN, *experiment, "model.recipe.max_images=16", "sweep.name=mine")
    assert facelab(*sweep, "seed=1").status == 0
    outcome = facelab(*sweep, "split.seed=1,2")
    assert outcome.status == 2
    assert "its axes are seed, and now split.seed" in outcome.error or "its axes are none" in outcome.error
    outcome = facelab(*sweep, "seed=1", "augment=none")
    assert outcome.status == 2
    assert "augment=none" in outcome.error
    assert len(runs()) == 2


@pytest.mark.slow
def test_a_child_of_older_code_is_kept_or_redone(
    facelab: Command, experiment: Experiment, runs: Runs, client: MlflowClient, tmp_path: Path
) -> None:
    for git in (["init"], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *git], check=True, capture_output=True)
    sweep = ("train", "-m", *TINY_CNN, *experiment, "model.recipe.max_images=16", "seed=1,2")
    assert facelab(*sweep).status == 0
    _, (old, other) = family(runs())
    client.set_tag(old.info.run_id, "mlflow.source.git.commit", "0123456789abcdef")
    outcome = facelab(*sweep)
    assert "1 were finished by older code (0123456789)" in outcome.out
    assert len(family(runs())[1]) == 2
    outcome = facelab(*sweep, "sweep.stale=redo")
    assert outcome.status == 0, outcome.error
    _, children = family(runs())
    assert len(children) == 3
    replaced = {run.info.run_id: run.data.tags.get("sweep.superseded_by") for run in children}
    assert replaced[old.info.run_id] == children[2].info.run_id
    assert replaced[other.info.run_id] is None


@pytest.mark.slow
def test_a_sweep_shares_out_the_threads_and_keeps_their_number(
    facelab: Command, experiment: Experiment, runs: Runs
) -> None:
    open_ended = [override for override in TINY_CNN if not override.startswith("trainer.threads")]
    sweep = ("train", "-m", *open_ended, *experiment, "model.recipe.max_images=16", "seed=1,2")
    assert facelab(*sweep).status == 0
    assert facelab(*sweep, "sweep.jobs=1").status == 0
    _, children = family(runs())
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert [child.data.params["trainer.threads"] for child in children] == [share, share]


@pytest.mark.slow
def test_jobs_that_need_the_same_run_train_it_once(
    facelab: Command, experiment: Experiment, runs: Runs, client: MlflowClient
) -> None:
    outcome = facelab("train", "-m", "model=gan", *TINY_GAN, *experiment, "seed=1,2", "sweep.jobs=2")
    assert outcome.status == 0, outcome.error
    _, children = family(runs())
    for need in ("needs.embedder", "needs.face_classifier"):
        assert len({child.data.tags[need] for child in children}) == 1
    needed = client.get_experiment_by_name(experiment[1].partition("=")[2].strip("'") + " · needed")
    assert needed is not None
    assert len(client.search_runs([needed.experiment_id])) == 2


@pytest.mark.slow
def test_a_change_of_a_generators_file_replaces_the_runs_that_it_generated_for(
    facelab: Command, experiment: Experiment, runs: Runs, tmp_path: Path
) -> None:
    file = tmp_path / "conf" / "model" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("defaults: [gan_conditional, _self_]\n")
    synthetic = ("synthetic=gan_conditional", "synthetic.per_identity=1", generator_of("model=mine"))
    sweep = ("train", "-m", *TINY_CNN, *synthetic, *experiment, "model.recipe.max_images=16", "seed=1")
    assert facelab(*sweep).status == 0
    assert "1 jobs, 1 finished before" in facelab(*sweep).out
    file.write_text("defaults: [gan_conditional, _self_]\nobjective:\n  weight: 0.5\n")
    outcome = facelab(*sweep)
    assert outcome.status == 0, outcome.error
    assert "finished before" not in outcome.out
    _, (old, new) = family(runs())
    assert old.data.tags["sweep.superseded_by"] == new.info.run_id
    assert old.data.tags["needs.generator"] != new.data.tags["needs.generator"]


@pytest.mark.slow
def test_a_job_of_two_processes(facelab: Command, experiment: Experiment, runs: Runs) -> None:
    ddp = ("trainer=ddp", "trainer.devices=2", "trainer.threads=1")
    outcome = facelab("train", "-m", *TINY_CNN, *ddp, *experiment, "model.recipe.max_images=32", "seed=1,2")
    assert outcome.status == 0, outcome.out
    _, children = family(runs())
    assert [child.info.status for child in children] == ["FINISHED", "FINISHED"]


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_waited_for(
    facelab: Command, experiment: Experiment, runs: Runs, faulty: None, tmp_path: Path
) -> None:
    sweep = ("train", "-m", *FAULTY, *experiment, "data.how=once")
    assert facelab(*sweep).status == 1
    _, (child,) = family(runs())
    (tmp_path / "mended").touch()
    held = ExitStack()
    held.enter_context(TrackedRun.open(tmp_path / "runs" / child.info.run_id).alone())
    (lock,) = (tmp_path / "runs").glob("*/sweep.lock")
    record = lock.parent / "spool.jsonl"
    before = record.stat().st_size

    def let_go_while_the_sweep_runs() -> None:
        deadline = time.monotonic() + 60
        while record.stat().st_size == before and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        held.close()

    other = threading.Thread(target=let_go_while_the_sweep_runs)
    other.start()
    outcome = facelab(*sweep)
    other.join()
    assert outcome.status == 0, outcome.error
    assert "is still being trained by another process; waiting for it" in outcome.out
    _, children = family(runs())
    assert [(run.info.run_id, run.info.status) for run in children] == [(child.info.run_id, "FINISHED")]


def test_an_error_of_any_length_is_a_failed_job(
    facelab: Command, experiment: Experiment, runs: Runs, faulty: None
) -> None:
    assert facelab("train", "-m", *FAULTY, *experiment, "data.how=raise_long").status == 1
    _, (child,) = family(runs())
    assert "very long" in child.data.tags["reason"]
