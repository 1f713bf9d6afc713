"""Classical recognisers as runs: trained, evaluated, enrolled, exported and resumed like every other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from mlflow.entities import Run
from numpy.typing import NDArray
from safetensors.torch import load_file

from facelab.commands.train import check_training
from facelab.config.compose import config_folder
from facelab.runs.begin import begin, resolved
from facelab.synthetic import DuplicatedFaces
from facelab.tracking import SqliteStore, recent_runs
from tests.conftest import TINY, Command
from tests.data.made import make_folder

Runs = Callable[[], list[Run]]
FEW = (*TINY, "split=few_shot", "split.train_per_identity=3")


@pytest.mark.parametrize("model", [pytest.param("pixels", marks=pytest.mark.slow), "fisherfaces", "linear_svm"])
def test_a_run_is_fitted_once(
    facelab: Command, experiment: tuple[str, str], runs: Runs, store_folder: Path, tmp_path: Path, model: str
) -> None:
    outcome = facelab("train", *FEW, *experiment, f"model={model}")
    assert outcome.status == 0, outcome.error
    assert "fitted once to 18 images" in outcome.out
    run = runs()[0]
    metrics = run.data.metrics
    assert metrics["fit/images_seen"] == 18
    shown = {row.id: row.images_seen for row in recent_runs(SqliteStore(str(store_folder)), 100)}
    assert shown[run.info.run_id] == 18
    assert metrics["test/accuracy"] > 0.8
    assert {"knn/accuracy", "linear_probe/accuracy", "fit/seconds"} <= metrics.keys()
    assert not [name for name in metrics if name.startswith(("train/", "val/"))]
    weights = load_file(tmp_path / "runs" / run.info.run_id / "model.safetensors")
    assert all(len(values) for values in weights.values())
    if model != "pixels":
        return
    assert metrics["test/accuracy"] == pytest.approx(metrics["knn/accuracy"], abs=0.1)  # Euclidean, and cosine


def test_copies_change_no_nearest_neighbour_and_new_classes_are_fitted(
    facelab: Command, experiment: tuple[str, str], runs: Runs
) -> None:
    for synthetic in ("null", "duplicates", "pixel_mixed_identities"):
        faces = () if synthetic == "null" else (f"synthetic={synthetic}", "synthetic.per_identity=2")
        outcome = facelab("train", *FEW, *experiment, "model=pixels", *faces)
        assert outcome.status == 0, outcome.error
    mixed, copied, real = (run.data.metrics for run in runs()[:3])
    assert [metrics["fit/images_seen"] for metrics in (real, copied, mixed)] == [18, 30, 30]
    assert real["test/accuracy"] == copied["test/accuracy"] == mixed["test/accuracy"]


def test_synthetic_faces_are_made_with_the_threads_of_the_run(
    facelab: Command, experiment: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    make = DuplicatedFaces.make

    def watched(self: DuplicatedFaces, *arguments: Any) -> NDArray[np.uint8]:
        threads.append(torch.get_num_threads())
        return make(self, *arguments)

    monkeypatch.setattr(DuplicatedFaces, "make", watched)
    torch.set_num_threads(2)
    faces = ("synthetic=duplicates", "synthetic.per_identity=2")
    outcome = facelab("train", *FEW, *experiment, "model=pixels", *faces, "trainer.threads=1")
    assert outcome.status == 0, outcome.error
    assert threads == [1]


def _trained(facelab: Command, experiment: tuple[str, str], runs: Runs) -> Run:
    outcome = facelab("train", *TINY, *experiment, "model=eigenfaces", "model.components=10")
    assert outcome.status == 0, outcome.error
    assert "is lowered" not in outcome.out
    return runs()[0]


def test_validation_only_judges_and_the_run_is_evaluated_again(
    facelab: Command, experiment: tuple[str, str], runs: Runs
) -> None:
    run = _trained(facelab, experiment, runs)
    assert run.data.metrics["val/accuracy"] == run.data.metrics["best/accuracy"] > 0.8
    outcome = facelab("evaluate", f"run={run.info.run_id}", experiment[0], "trainer=cpu", "trainer.threads=1")
    assert outcome.status == 0, outcome.error
    evaluation = runs()[0]
    assert evaluation.info.run_id != run.info.run_id
    assert evaluation.data.metrics["test/accuracy"] == run.data.metrics["test/accuracy"]


@pytest.mark.slow
def test_a_run_is_enrolled_and_exported(
    facelab: Command, experiment: tuple[str, str], runs: Runs, tmp_path: Path
) -> None:
    place = (f"run={_trained(facelab, experiment, runs).info.run_id}", experiment[0])
    (tmp_path / "others").mkdir()
    make_folder(tmp_path / "people", people=12, pictures=7)
    for person in range(6, 12):  # not in training
        (tmp_path / "people" / f"person{person}").rename(tmp_path / "others" / f"person{person}")
    enrolled = ("source=people", "gallery=office", "aligned=true", "fpir=0.8", "min_size_pixels=30")
    outcome = facelab("enroll", *place, *enrolled, "development=others")
    assert outcome.status == 0, outcome.error
    pytest.importorskip("onnxruntime")
    outcome = facelab("export", *place, "format=onnx", "out=faces.onnx")
    assert outcome.status == 0, outcome.error
    assert "embeddings, scores" in outcome.out


def test_an_interrupted_fit_starts_again(
    facelab: Command, experiment: tuple[str, str], runs: Runs, tmp_path: Path
) -> None:
    overrides = [*FEW, *experiment, "model=eigenfaces"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = resolved(check_training(compose("train", overrides)))
    facelab("runs", experiment[0])  # moves to the folder of this test
    run = begin(config, {"model": "eigenfaces"})
    run.status("KILLED")
    outcome = facelab("train", f"resume={run.id}", experiment[0])
    assert outcome.status == 0, outcome.error
    assert runs()[0].info.status == "FINISHED"
    assert json.loads((tmp_path / "runs" / run.id / "metrics.json").read_text())["fit/images_seen"] == 18


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("augment=light", ["augment", "Pixels is fitted once", "augment=none"]),
        ("trainer.devices=2", ["trainer.devices=2", "in one process"]),
        ("model.recipe.max_images=64", ["model.recipe.max_images", "unknown key"]),
    ],
)
def test_what_a_fit_cannot_follow_is_refused(
    facelab: Command, experiment: tuple[str, str], override: str, words: list[str]
) -> None:
    outcome = facelab("train", *FEW, *experiment, "model=pixels", override)
    assert outcome.status == 2
    assert all(word in outcome.error for word in words), outcome.error
