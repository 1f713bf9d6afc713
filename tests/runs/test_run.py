"""Whole runs, recorded in a real MLflow store."""

import csv
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors.torch import load_file

from facelab.tracking import note
from tests.conftest import TINY_CNN, Command, start

Runs = Callable[[], list[Run]]
Experiment = tuple[str, str]


def _weights(folder: Path, run: Run) -> dict[str, torch.Tensor]:
    return load_file(folder / "runs" / run.info.run_id / "model.safetensors")


def _equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _opens_on_its_description(run: Run, client: MlflowClient, command: str) -> None:
    """Check the description: data, result, command and pictures."""
    description = run.data.tags["mlflow.note.content"]
    assert "orl s1..s6" in description
    assert f"| accuracy&emsp; | {run.data.metrics['test/accuracy']:.1%}&emsp; |" in description
    assert run.data.tags["command"] == command
    assert note.command_block(command) in description
    pictures = {item.path for item in client.list_artifacts(run.info.run_id, "pictures/small")}
    assert {path.rpartition("/")[2] for path in pictures} == set(re.findall(r"small%2F(\w+\.png)", description))
    assert len(pictures) == 3
    assert client.get_experiment(run.info.experiment_id).tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_run_records_everything_worth_comparing(
    facelab: Command, experiment: Experiment, runs: Runs, client: MlflowClient, tmp_path: Path
) -> None:
    outcome = facelab("train", *TINY_CNN, *experiment)
    assert outcome.status == 0, outcome.error
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "cnn · split=0 · seed=1"

    _opens_on_its_description(run, client, shlex.join(["facelab", "train", *TINY_CNN, *experiment]))

    params = run.data.params
    assert params["model"] == "cnn"
    assert params["trainer"] == "cpu"
    assert params["model.recipe.batch_size"] == "16"
    assert params["trainer.precision"] in ("32-true", "bf16-mixed")  # auto is resolved
    assert params["trainer.threads"] == "1"
    assert params["augment.transforms.0._target_"] == "albumentations.HorizontalFlip"

    metrics = run.data.metrics
    for judge in ("test", "linear_probe"):
        for name in ("accuracy", "precision", "recall", "f1"):
            assert 0 <= metrics[f"{judge}/{name}"] <= 1
    with (tmp_path / "runs" / run.info.run_id / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert np.mean([row["label"] == row["predicted"] for row in rows]) == pytest.approx(metrics["test/accuracy"])
    assert metrics["test/f1_low"] <= metrics["test/f1"] <= metrics["test/f1_high"]
    assert {"knn/accuracy", "fit/images_per_second", "train/loss", "val/loss", "val/f1"} <= metrics.keys()
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "val/f1")]
    assert steps == [80, 160]  # images seen
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in history] == [80, 160]

    tags = run.data.tags
    for tag in ("hardware.cpu", "hardware.cores", "hardware.memory_gib", "version.torch", "version.python"):
        assert tags[tag]
    assert len(tags["data.fingerprint"]) == 64
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == tags["data.fingerprint"][:36]
    assert json.loads(dataset.dataset.profile) == {"images": 60, "classes": 6, "train": 36, "val": 12, "test": 12}

    paths = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "packages.txt", "images"} <= paths
    shown = " ".join(item.path for item in client.list_artifacts(run.info.run_id, "images"))
    for picture in ("augmented_batch", "confusion_matrix", "misclassified", "embeddings"):
        assert picture in shown
        assert (tmp_path / "runs" / run.info.run_id / f"{picture}.png").stat().st_size > 1000
    config = yaml.safe_load((tmp_path / "runs" / run.info.run_id / "config.yaml").read_text())
    assert config["trainer"]["precision"] == params["trainer.precision"]

    for words in ("accuracy", "precision (macro)", "recall (macro)", "F1 (macro)", "95 % interval", run.info.run_id):
        assert words in outcome.out
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}  # the store lies elsewhere, and nothing else is left


def test_the_default_store_is_where_a_bare_mlflow_ui_looks(facelab: Command, tmp_path: Path) -> None:
    assert facelab("train", *TINY_CNN, "model.recipe.max_images=16").status == 0
    assert (tmp_path / "mlflow.db").is_file()
    assert (tmp_path / "mlartifacts").is_dir()
    assert not (tmp_path / "mlruns").exists()
    journal = subprocess.run(
        [sys.executable, "-c", "import sqlite3; print(*sqlite3.connect('mlflow.db').execute('PRAGMA journal_mode'))"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "wal" in journal.stdout


def test_same_config_and_seed_same_weights_whatever_the_number_of_workers(
    facelab: Command, experiment: Experiment, runs: Runs, tmp_path: Path
) -> None:
    for extra in ([], ["runtime.workers=2"], ["seed=2"]):
        assert facelab("train", *TINY_CNN, *experiment, *extra).status == 0
    other_seed, two_workers, first = (_weights(tmp_path, run) for run in runs())
    assert _equal(first, two_workers)
    assert not _equal(first, other_seed)


def test_float32_and_bf16_learn_alike(facelab: Command, experiment: Experiment, runs: Runs) -> None:
    for precision in ("32-true", "bf16-mixed"):
        assert facelab("train", *TINY_CNN, *experiment, f"trainer.precision={precision}").status == 0
    bf16, float32 = (run.data.metrics["train/loss"] for run in runs())
    assert bf16 == pytest.approx(float32, rel=0.1)


def test_a_small_recogniser_learns(facelab: Command, experiment: Experiment, runs: Runs) -> None:
    longer = ("model.recipe.max_images=1600", "split=few_shot", "trainer.precision=32-true")
    assert facelab("train", *TINY_CNN, *experiment, *longer).status == 0
    (run,) = runs()
    assert run.data.metrics["test/accuracy"] > 0.8  # six people: chance is 0.17


def test_a_loss_that_is_no_number_stops_the_run_within_a_step(
    facelab: Command, experiment: Experiment, runs: Runs
) -> None:
    outcome = facelab("train", *TINY_CNN, *experiment, "model.optimizer.lr=1e30", "model.recipe.max_images=3200")
    assert outcome.status == 1
    assert "the loss became NaN or infinite after" in outcome.error
    assert "model.optimizer" in outcome.error
    (run,) = runs()
    assert run.info.status == "FAILED"
    assert "NaN" in run.data.tags["reason"]
    assert "test/accuracy" not in run.data.metrics


def test_two_processes_give_one_run_and_count_every_picture_once(
    experiment: Experiment, runs: Runs, tmp_path: Path
) -> None:
    # Seven people: 14 test pictures in a batch, and an odd number of people to share.
    overrides = [*TINY_CNN, *experiment, "data.last_person=7", "trainer=ddp", "trainer.precision=32-true"]
    process = start(tmp_path, *overrides, "split.train=0.5", "split.val=0.2", "split.test=0.3")
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["trainer.devices"] == "2"
    assert run.data.metrics["test/images"] == 21  # eleven on each rank, one of them to pad
