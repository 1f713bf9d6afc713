"""Runs that are stopped, killed and damaged, and what they are worth afterwards: real processes, a real store."""

import hashlib
import os
import re
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors.torch import load_file

from facelab.errors import CheckpointError
from facelab.tracking import TrackedRun
from facelab.training.checkpoint import CheckpointFiles, checkpoint_path, newest
from tests.conftest import TINY, TINY_CNN, TINY_GAN, TINY_REFERENCE_MODELS, Command, start, wait_for_checkpoint

Runs = Callable[[], list[Run]]
Experiment = tuple[str, str]

# Long enough to be caught on the way; dropout, averaging and validation have a state of their own.
LONG = (
    *TINY,
    "model=cnn_classic",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=3200",
    "model.recipe.max_epochs=null",
    "model.recipe.ema_half_life_images=500",
    "trainer.validations=7",
    "runtime.checkpoint_every_s=0.5",
)

LONG_GAN = (
    *TINY_GAN,
    "model=gan",
    "model.recipe.max_images=3200",
    "model.recipe.ema_half_life_images=500",
    "runtime.checkpoint_every_s=0.5",
)

LONG_DIFFUSION = (
    *TINY,
    *TINY_REFERENCE_MODELS,
    "model=diffusion_conditional",
    "model.network.widths=[8,16]",
    "model.steps=2",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=3200",
    "model.recipe.ema_half_life_images=500",
    "runtime.checkpoint_every_s=0.5",
)


def history(client: MlflowClient, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """All points of a run but those that tell the time."""
    names = [name for name in client.get_run(run_id).data.metrics if not name.startswith(("system/", "fit/"))]
    names = [name for name in names if "per_second" not in name]
    return {name: [(p.step, p.value) for p in client.get_metric_history(run_id, name)] for name in names}


@pytest.mark.parametrize(
    ("model", "pictures"),
    [
        pytest.param(LONG, 4, id="cnn"),
        pytest.param((*LONG, "synthetic=pixel_mixed_identities"), 5, id="synthetic", marks=pytest.mark.slow),
        pytest.param(LONG_GAN, 17, id="gan", marks=pytest.mark.slow),
        pytest.param(LONG_DIFFUSION, 16, id="diffusion", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_bit_for_bit(
    facelab: Command,
    experiment: Experiment,
    runs: Runs,
    client: MlflowClient,
    tmp_path: Path,
    model: tuple[str, ...],
    pictures: int,
) -> None:
    overrides = (*model, *experiment)
    outcome = facelab("train", *overrides)
    assert outcome.status == 0, outcome.error
    (whole,) = runs()

    process = start(tmp_path, *overrides, "runtime.workers=2")
    folder = wait_for_checkpoint(tmp_path, process)
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()  # mid-step, as likely as not, and as the kernel does when memory is exhausted: this process alone
    process.communicate(timeout=60)
    assert len(started) >= 2, "the loader's processes"
    assert not psutil.wait_procs(started, timeout=30)[1]
    process = start(tmp_path, f"resume={folder.name}", "runtime.workers=0")
    wait_for_checkpoint(tmp_path, process, after=int(newest(folder / "checkpoints")[0].images_seen))  # type: ignore[union-attr]
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert f"resume={folder.name}" in output
    assert client.get_run(folder.name).info.status == "KILLED"
    outcome = facelab("train", f"resume={folder.name}", "runtime.workers=2")
    assert outcome.status == 0, outcome.error

    assert {run.info.run_id for run in runs()} == {whole.info.run_id, folder.name}  # the same run all the way
    run = client.get_run(folder.name)
    assert run.info.status == "FINISHED"
    assert "reason" not in run.data.tags
    first, second = (
        load_file(tmp_path / "runs" / name / "model.safetensors") for name in (whole.info.run_id, folder.name)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert history(client, folder.name) == history(client, whole.info.run_id)
    steps = [point.step for point in client.get_metric_history(folder.name, "train/images_per_second")]
    assert len(steps) == len(set(steps))  # nothing twice, also where the values differ
    shown = [item.path for item in client.list_artifacts(folder.name, "images") if item.path.endswith(".png")]
    assert len(shown) == pictures
    outcome = facelab("train", f"resume={folder.name}")
    assert outcome.status == 2
    assert "has finished" in outcome.error


@pytest.fixture
def stopped(facelab: Command, experiment: Experiment, tmp_path: Path) -> Path:
    """The folder of a run that was stopped on the way and has two checkpoints."""
    process = start(tmp_path, *TINY_CNN, *experiment, "model.recipe.max_images=8000", "runtime.checkpoint_every_s=0.3")
    folder = wait_for_checkpoint(tmp_path, process)
    while len(list(folder.glob("checkpoints/*.ckpt"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    return folder


def test_ctrl_c_ends_the_run_although_its_loader_processes_ignore_signals(tmp_path: Path) -> None:
    """Without garbage collection, which frees the loader sometimes, but not always."""
    overrides = [*TINY_CNN, "model.recipe.max_images=80000", "runtime.checkpoint_every_s=0.3", "runtime.workers=2"]
    process = start(tmp_path, *overrides, before="import gc; gc.disable()")
    wait_for_checkpoint(tmp_path, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "To resume" in output


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoints/*.ckpt"), reverse=True)


def test_what_cannot_be_resumed_is_explained(facelab: Command, stopped: Path, client: MlflowClient) -> None:
    name = stopped.name

    def refused(*overrides: str) -> str:
        outcome = facelab("train", *overrides)
        assert outcome.status in (1, 2)
        assert outcome.error.startswith("Error: ")
        assert "Traceback" not in outcome.error
        return outcome.error

    message = refused("resume=0123")
    assert "no such run" in message
    assert name in message  # names those there are
    assert "no such run" in refused("resume=../runs")
    assert "runtime.runs_folder" in refused(f"resume={name}", "runtime.runs_folder=elsewhere")

    message = refused(f"resume={name}", "model.optimizer.lr=0.5", "seed=1")
    assert "model.optimizer.lr is 0.5 now and 0.002 in the run" in message
    assert "seed" not in message  # the same as in the run
    assert "model.head._target_" in refused(f"resume={name}", "model=cnn_classic")
    message = refused(f"resume={name}", "tracking.experiment=other", "sweep.jobs=4", "model.recipe.batch_size=64")
    assert "tracking.experiment is 'other' now" in message
    assert "sweep.jobs is 4 now and absent in the run" in message
    assert "model.recipe.batch_size is 64 now and 16 in the run" in message  # 64 is the default, but was typed
    assert "protocol.generation._target_" in refused(f"resume={name}", "~protocol.generation")

    message = refused(f"resume={name}", "runtime.workers=abc", "runtime.checkpoint_every_s=9999")
    assert "runtime.workers" in message
    assert "runtime.checkpoint_every_s" in message
    assert "runtime.workers" in refused(f"resume={name}", "runtime.workers=-3")
    message = refused(f"resume={name}", "runtime.runs_folder=2024")
    assert f"no such run in {stopped.parents[1] / '2024'}" in message

    config = stopped / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("seed: 1", "seed: 5"))
    message = refused(f"resume={name}")
    assert "seed is 5 now and 1 in the run" in message
    assert "config.yaml" in message
    config.write_text(re.sub("^runtime:\n(  .*\n)+", "", text, flags=re.MULTILINE))
    message = refused(f"resume={name}")
    assert f"{config}: runtime" in message
    config.write_text(text)
    with TrackedRun.open(stopped).alone():
        assert "is being trained by another process" in refused(f"resume={name}")
    assert client.get_run(name).info.status == "KILLED"  # none of these has touched it

    lines = stopped / "spool.jsonl"
    recorded = lines.read_text()
    lines.write_text(re.sub('(data.fingerprint", "value": )"[0-9a-f]+"', r'\1"0123"', recorded))
    assert "have changed since" in refused(f"resume={name}")
    lines.write_text(recorded)

    torch.save({"images_seen": 1, "config": {}, "run_me": Path("x")}, (first := _checkpoints(stopped)[0]))
    _sum(first)
    _checkpoints(stopped)[1].write_bytes(b"")
    message = refused(f"resume={name}")
    assert "holds more than plain data" in message
    assert "checksum differs" in message
    assert len(_checkpoints(stopped)) == 2


def _sum(path: Path) -> None:
    path.with_suffix(".sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    facelab: Command, stopped: Path, client: MlflowClient
) -> None:
    newer, older = _checkpoints(stopped)
    digest, name = newer.with_suffix(".sha256").read_text().split()  # as sha256sum --check takes it
    assert (hashlib.sha256(newer.read_bytes()).hexdigest(), newer.name) == (digest, name)
    newer.write_bytes(newer.read_bytes()[:-100])
    (stopped / "checkpoints" / "images=000000099999.partial").write_bytes(b"cut off")
    outcome = facelab("train", f"resume={stopped.name}")
    assert outcome.status == 0, outcome.error
    assert f"{newer} is damaged" in outcome.error
    assert f"after {int(older.stem.partition('=')[2]):,} of 8,000 images" in outcome.out
    steps = [point.step for point in client.get_metric_history(stopped.name, "train/loss")]
    assert len(steps) == len(set(steps))


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_begins_again(
    facelab: Command, experiment: Experiment, runs: Runs, client: MlflowClient, tmp_path: Path
) -> None:
    process = start(tmp_path, *TINY_CNN, *experiment, "model.recipe.max_images=3200")
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob("runs/*/config.yaml")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    (run,) = runs()
    assert facelab("train", f"resume={run.info.run_id}").status == 0
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["fit/images_seen"] == 3200
    assert len(run.inputs.dataset_inputs) == 1


def test_a_full_disk_leaves_older_checkpoints_as_they_are(tmp_path: Path) -> None:
    files, state = CheckpointFiles(), {"images_seen": 1, "config": {}, "weights": torch.zeros(100_000)}
    files.save_checkpoint(state, checkpoint_path(tmp_path, 1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # writes beyond fail, as on a full disk
    try:
        with pytest.raises(CheckpointError, match="facelab train resume=<run id>"):
            files.save_checkpoint(state, checkpoint_path(tmp_path, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "images=000000000001.ckpt",
        "images=000000000001.sha256",
    ]
    checkpoint, faults = newest(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.images_seen, faults) == (1, [])


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for images_seen in (1, 2, 10):
        state: dict[str, Any] = {"images_seen": images_seen, "config": {}}
        CheckpointFiles().save_checkpoint(state, checkpoint_path(tmp_path, images_seen))
    assert {path.name for path in tmp_path.iterdir()} == {
        f"images={images_seen:012d}{suffix}" for images_seen in (2, 10) for suffix in (".ckpt", ".sha256")
    }
    found, _ = newest(tmp_path)
    assert found is not None
    assert found.images_seen == 10


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_while_it_evaluates_only_evaluates_when_it_goes_on(
    facelab: Command,
    experiment: Experiment,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    monkeypatch.setenv("FACELAB_ALLOW", "tests")
    protocol = "protocol.classification._target_=tests.runs.waiting.WaitingClassification"
    (tmp_path / "wait").touch()
    process = start(tmp_path, *TINY_CNN, *experiment, protocol)
    deadline = time.monotonic() + 90
    while not (tmp_path / "evaluating").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert f"resume={folder.name}" in output
    assert client.get_run(folder.name).info.status == "KILLED"
    trained, before = load_file(folder / "model.safetensors"), history(client, folder.name)

    (tmp_path / "wait").unlink()
    outcome = facelab("train", f"resume={folder.name}")
    assert outcome.status == 0, outcome.error
    assert "after 160 of 160 images" in outcome.out
    assert "images/s" not in outcome.out  # no step of training
    run = client.get_run(folder.name)
    assert run.info.status == "FINISHED"
    after, weights = history(client, folder.name), load_file(folder / "model.safetensors")
    assert {name: points for name, points in after.items() if name in before} == before
    assert all(torch.equal(weights[name], trained[name]) for name in trained)

    before_it = set((tmp_path / "runs").iterdir())
    whole = facelab("train", *TINY_CNN, *experiment, protocol)
    assert whole.status == 0, whole.error
    (uninterrupted,) = set((tmp_path / "runs").iterdir()) - before_it
    assert history(client, uninterrupted.name) == after
