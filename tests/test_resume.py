"""Runs that are stopped, killed and damaged, and what they are worth afterwards: real processes, a real store."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors.torch import load_file

from facelab.checkpoint import newest
from tests.conftest import TINY, Command, start, wait_for_checkpoint

Runs = Callable[[], list[Run]]
Experiment = tuple[str, str]

# Long enough to be caught on the way; dropout, averaging and validation have a state of their own.
LONG = (
    *TINY,
    "model=cnn_seed",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=4800",
    "model.recipe.max_epochs=null",
    "model.recipe.ema_half_life_images=500",
    "trainer.validations=7",
    "runtime.checkpoint_every_s=0.5",
)


def history(client: MlflowClient, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """All points of a run but those that tell the time."""
    names = [name for name in client.get_run(run_id).data.metrics if not name.startswith(("system/", "fit/"))]
    names = [name for name in names if "per_second" not in name]
    return {name: [(p.step, p.value) for p in client.get_metric_history(run_id, name)] for name in names}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_goes_on_bit_for_bit(
    facelab: Command, experiment: Experiment, runs: Runs, client: MlflowClient, tmp_path: Path, workers: int
) -> None:
    overrides = (*LONG, *experiment, f"runtime.workers={workers}")
    outcome = facelab("train", *overrides)
    assert outcome.status == 0, outcome.error
    (whole,) = runs()

    process = start(tmp_path, *overrides)
    folder = wait_for_checkpoint(tmp_path, process)
    os.killpg(process.pid, signal.SIGKILL)  # mid-step, as likely as not
    process.communicate(timeout=60)
    process = start(tmp_path, f"resume={folder.name}")
    wait_for_checkpoint(tmp_path, process, after=int(newest(folder / "checkpoints")[0].images_seen))  # type: ignore[union-attr]
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert f"resume={folder.name}" in output
    assert client.get_run(folder.name).info.status == "KILLED"
    outcome = facelab("train", f"resume={folder.name}")
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
    assert len(shown) == 4
    outcome = facelab("train", f"resume={folder.name}")
    assert outcome.status == 2
    assert "has finished" in outcome.error
