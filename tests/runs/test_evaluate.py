"""Finished runs evaluated again, and on other faces."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors import safe_open
from safetensors.numpy import load_file

from facelab import cli
from facelab.data.sources.orl import ORL
from facelab.errors import TrainingError
from facelab.models.base import Features, to_float
from facelab.models.trained import load
from facelab.runs.evaluate import _as_outputs
from tests.conftest import TINY_CNN, Command, free_port, server
from tests.data.made import made_set

HERE = ("trainer=cpu", "trainer.threads=1")
OTHERS = ("data.first_person=7", "data.last_person=12", "split=all", "protocol=verification")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, store_folder: Path) -> list[Path]:
    """Folders of two finished runs of one config and two seeds."""
    folder = tmp_path_factory.mktemp("trained")
    place = (f"tracking.folder={store_folder}", "tracking.experiment=trained", f"runtime.runs_folder={folder}")
    for seed in (1, 2):
        GlobalHydra.instance().clear()
        assert cli.main(["train", *TINY_CNN, *place, f"seed={seed}"]) == 0
    runs = sorted(path.parent for path in folder.glob("*/model.safetensors"))
    return sorted(runs, key=lambda run: "seed: 2" in (run / "config.yaml").read_text().splitlines())


@pytest.fixture
def place(trained: list[Path], store_folder: Path) -> tuple[str, ...]:
    """Overrides that find the run and its store."""
    return (f"run={trained[0].name}", f"runs_folder={trained[0].parent}", f"tracking.folder={store_folder}", *HERE)


def _evaluations(client: MlflowClient, run: Path) -> list[Run]:
    experiment = client.get_run(run.name).info.experiment_id
    return list(client.search_runs([experiment], f"tags.evaluates = '{run.name}'"))


def test_its_own_test_images_give_the_metrics_of_the_training(
    facelab: Command, place: tuple[str, ...], trained: list[Path], client: MlflowClient, tmp_path: Path
) -> None:
    before = client.get_run(trained[0].name).data.metrics
    outcome = facelab("evaluate", *place)
    assert outcome.status == 0, outcome.error
    run = _evaluations(client, trained[0])[0]
    metrics = run.data.metrics
    evaluated = {name: value for name, value in before.items() if name.startswith(("test/", "linear_probe/", "knn/"))}
    assert {name: metrics[name] for name in evaluated} == evaluated
    assert not any(name.startswith(("fit/", "train/", "val/")) for name in metrics)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "eval on orl s1..s6 of cnn · split=0 · seed=1"
    assert run.data.tags["mlflow.parentRunId"] == trained[0].name
    assert run.data.tags["mlflow.source.name"] == "facelab evaluate"
    own = client.get_run(trained[0].name).data
    assert run.data.tags["data.fingerprint"] == own.tags["data.fingerprint"]
    assert own.tags[f"evaluated_by.{run.info.run_id}"] == "orl s1..s6"
    assert own.metrics == before
    assert (run.data.params["model"], run.data.params["data"], run.data.params["split"]) == ("cnn", "orl", "ratio")
    assert run.data.params["evaluates"] == trained[0].name
    folder = trained[0].parent / run.info.run_id
    assert json.loads((folder / "metrics.json").read_text()) == {
        name: value for name, value in metrics.items() if not name.startswith("system/")
    }
    assert {"config.yaml", "confusion_matrix.png", "predictions.csv"} <= {path.name for path in folder.iterdir()}
    assert {"config.yaml", "predictions.csv", "images"} <= {f.path for f in client.list_artifacts(run.info.run_id)}

    outcome = facelab("compare", f"runs=[{trained[0].name},{run.info.run_id}]", place[2], f"out={tmp_path}")
    assert outcome.status == 0, outcome.error
    with (tmp_path / "comparison.csv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {trained[0].name, run.info.run_id}
    assert rows[trained[0].name]["name"] == "cnn · split=0 · seed=1"
    assert rows[run.info.run_id]["name"] == "eval on orl s1..s6 of cnn · split=0 · seed=1"
    assert not {"evaluates", "trainer.validations"} & rows[run.info.run_id].keys()
    assert f"evaluation of {trained[0].name}" in " ".join(facelab("runs", place[2]).out.split())
    refused = facelab("train", f"resume={run.info.run_id}", place[2], f"runtime.{place[1]}")
    assert refused.status == 2
    assert "this is an evaluation, which cannot be resumed" in refused.error


def test_other_people_are_verified_and_their_embeddings_kept(
    facelab: Command, place: tuple[str, ...], trained: list[Path], client: MlflowClient, tmp_path: Path
) -> None:
    outcome = facelab("evaluate", *place, *OTHERS, "embeddings=out.safetensors")
    assert outcome.status == 0, outcome.error
    assert "all pairs of 6 people" in outcome.out
    run = _evaluations(client, trained[0])[0]
    assert run.data.metrics["test/images"] == 60
    assert run.data.params["split"] == "all"
    found = load_file(tmp_path / "out.safetensors")["embeddings"]
    faces = ORL(image_size=32, first_person=7, last_person=12).load()
    pixels = np.stack([faces.pixels[i] for i in range(60)])
    module = load(trained[0]).module
    module.prepare_evaluation(60)
    images = to_float(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    batch = {"image": images, "label": torch.zeros(60), "index": torch.arange(60)}
    with torch.no_grad():
        expected = module.predict_step(batch, 0)["embedding"].numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(faces.names)
    assert {row["part"] for row in rows} == {"test"}
    assert rows[0]["digest"] == faces.digests[0]
    with safe_open(tmp_path / "out.safetensors", framework="np") as file:
        assert file.metadata()["run"] == trained[0].name
    count = len(_evaluations(client, trained[0]))
    assert "out.safetensors exists" in facelab("evaluate", *place, *OTHERS, "embeddings=out.safetensors").error
    assert len(_evaluations(client, trained[0])) == count


def test_what_it_was_trained_on_is_refused_unless_allowed(
    facelab: Command, place: tuple[str, ...], trained: list[Path], client: MlflowClient
) -> None:
    count = len(_evaluations(client, trained[0]))
    wider = ("data.last_person=12", "split=all", "protocol=verification")
    outcome = facelab("evaluate", *place, *wider)
    assert outcome.status == 2
    assert (
        f"run={trained[0].name}: In training or validation it saw 48 of the 120 images it is tested on: s1/"
        in outcome.error
    )
    assert "6 of the 12 people it is tested on: s1, s2, s3, s4, s5 and 1 more." in outcome.error
    outcome = facelab("evaluate", *place, "split.seed=5")  # the same people by design, other test images
    assert "of the 12 images it is tested on" in outcome.error
    assert "people" not in outcome.error
    assert len(_evaluations(client, trained[0])) == count
    outcome = facelab("evaluate", *place, *wider, "seen=allow")
    assert outcome.status == 0, outcome.error
    assert "Note: In training or validation it saw 48 of the 120 images" in outcome.out
    assert "48 of the 120" in _evaluations(client, trained[0])[0].data.tags["evaluation.notes"]


def test_several_runs_stand_side_by_side(
    facelab: Command, place: tuple[str, ...], trained: list[Path], client: MlflowClient
) -> None:
    outcome = facelab("evaluate", f"runs=[{trained[0].name},{trained[1].name}]", *place[1:], *OTHERS)
    assert outcome.status == 0, outcome.error
    table = "".join(outcome.out.split())
    for run in trained:
        assert f"({_evaluations(client, run)[0].info.run_id[:8]})" in table
    assert "eer" in table


def test_a_run_without_a_folder_is_evaluated_from_its_store(
    facelab: Command, place: tuple[str, ...], trained: list[Path], client: MlflowClient, tmp_path: Path
) -> None:
    outcome = facelab("evaluate", place[0], *place[2:], *OTHERS)
    assert outcome.status == 0, outcome.error
    assert (tmp_path / "runs" / "downloaded" / trained[0].name / "images.parquet").is_file()
    assert (tmp_path / "runs" / _evaluations(client, trained[0])[0].info.run_id / "metrics.json").is_file()


@pytest.mark.slow
def test_a_run_of_a_server_is_evaluated_where_none_of_its_files_are(facelab: Command, tmp_path: Path) -> None:
    port = free_port()
    with server(tmp_path, port):
        there = ("tracking=server", f"tracking.uri=http://127.0.0.1:{port}")
        assert facelab("train", *TINY_CNN, *there, "runtime.runs_folder=trained").status == 0
        (run,) = (path.parent for path in tmp_path.glob("trained/*/model.safetensors"))
        shutil.rmtree("trained")
        outcome = facelab("evaluate", f"run={run.name}", *there, *HERE)
        assert outcome.status == 0, outcome.error
        client = MlflowClient(there[1].partition("=")[2])
        before, (evaluation,) = client.get_run(run.name).data.metrics, _evaluations(client, run)
        tested = {name: value for name, value in evaluation.data.metrics.items() if name.startswith("test/")}
        assert tested == {name: value for name, value in before.items() if name.startswith("test/")}
        assert "test/accuracy" in tested
        assert "predictions.csv" in {file.path for file in client.list_artifacts(evaluation.info.run_id)}


def test_a_run_that_did_not_list_its_images_is_evaluated_on_its_own_split_only(
    facelab: Command, place: tuple[str, ...], trained: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(trained[0], tmp_path / "old" / trained[0].name, ignore=shutil.ignore_patterns("images.parquet"))
    old = (place[0], "runs_folder=old", *place[2:])
    outcome = facelab("evaluate", *old, *OTHERS)
    assert outcome.status == 2
    assert "made by facelab 0." in outcome.error
    assert "did not record the images it used" in outcome.error
    assert facelab("evaluate", *old).status == 0
    assert "is unknown" in facelab("evaluate", *old, *OTHERS, "seen=allow").out


def test_files_that_are_damaged_are_named(
    facelab: Command, place: tuple[str, ...], trained: list[Path], client: MlflowClient, tmp_path: Path
) -> None:
    count = len(_evaluations(client, trained[0]))
    weights = bytearray((trained[0] / "model.safetensors").read_bytes())
    weights[-100] ^= 1
    for name, content, says in (
        ("model.safetensors", bytes(weights), "model.safetensors is damaged or was changed"),
        ("config.yaml", b"", "config.yaml has no model"),
        ("config.yaml", b"model: 3", "config.yaml has no model"),
    ):
        shutil.copytree(trained[0], tmp_path / "copy" / trained[0].name)
        (tmp_path / "copy" / trained[0].name / name).write_bytes(content)
        outcome = facelab("evaluate", place[0], "runs_folder=copy", *place[2:])
        assert (outcome.status, says in outcome.error) == (2, True), outcome.error
        shutil.rmtree(tmp_path / "copy")
    assert len(_evaluations(client, trained[0])) == count


def test_ctrl_c_closes_the_evaluation_as_killed(
    facelab: Command,
    place: tuple[str, ...],
    trained: list[Path],
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACELAB_ALLOW", "tests")
    protocol = "protocol.verification._target_=tests.runs.stopping.Interrupted"
    outcome = facelab("evaluate", *place, *OTHERS, protocol, "embeddings=out.safetensors")
    assert outcome.status == 130
    assert "Repeat its command" in outcome.error
    run = _evaluations(client, trained[0])[0]
    assert run.info.status == "KILLED"
    assert not (trained[0].parent / run.info.run_id / "metrics.json").exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["run=null"], "Neither run nor runs is given"),
        (["runs=[a]"], "Both run and runs are given"),
        (["run=null", "runs=[]"], "runs: the list is empty"),
        (["run=0123"], "run=0123: there is no such run, since run ids are 32 hexadecimal digits"),
        ([f"run={'0' * 32}"], f"run={'0' * 32}: there is no such run in sqlite"),
        (["data.image_size=64"], "data.image_size=64: the images are read as the model"),
        (["data=orl", "data.channels=3"], "data.channels=3: the images are read as the model"),
        (["data.last_persn=3"], "Did you mean 'last_person'?"),
        (["data=olr"], "Did you mean 'orl'?"),
        (["data=folder"], "data.root: has no value yet"),
        (["data=folder", "data.root=nowhere"], "nowhere"),
        (["protocol.verification.backend=lda"], "protocol.verification: the run's own protocol has classification"),
        (["protocol=[]"], "protocol=[]: this chooses nothing"),
        (["protocol=[classification,verification]", "protocol.verification.far=[0.5]"], "far must be among"),
        (["protocol=reconstruction"], "reconstruction cannot evaluate CNN"),
        (["split=all"], "protocol=classification: it is fitted to"),
        (["split=all", "protocol=verification", "protocol.verification.backend=lda"], "backend=cosine"),
        (["split=all", "protocol=verification", "data.last_person=1"], "at least two people"),
        (["protocol=verification"], "split=identity_disjoint"),
        (["embeddings=out.csv"], "name ends in .safetensors"),
        (["embeddings=nowhere/out.safetensors"], "there is no folder"),
        (["embeddings=/proc/out.safetensors"], "cannot be written"),
        (["seen=maybe"], "seen: expected"),
        (["trainer=gpu", "trainer.devices=1"], "Error: trainer.accelerator=gpu"),
        (["trainer.devices=2"], "trainer.devices=2: an evaluation has one process"),
        (["tracking.folder=nowhere"], "tracking.folder: there is no store"),
        (["split.shares=3"], "split.shares: the run's own split has train, val, test"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gives_one_clear_message_and_records_nothing(
    facelab: Command,
    place: tuple[str, ...],
    trained: list[Path],
    client: MlflowClient,
    tmp_path: Path,
    overrides: list[str],
    says: str,
) -> None:
    count = len(_evaluations(client, trained[0]))
    outcome = facelab("evaluate", *place, *overrides)
    assert outcome.status in (1, 2)
    assert outcome.error.startswith("Error: ")
    assert says in outcome.error
    assert "Traceback" not in outcome.error
    assert len(_evaluations(client, trained[0])) == count
    assert not list(tmp_path.iterdir())


def test_embeddings_that_are_not_finite_are_refused() -> None:
    embeddings = torch.zeros(4, 2)
    embeddings[1, 0], embeddings[3, 1] = torch.nan, torch.inf
    features: Features = {"embedding": embeddings, "label": torch.zeros(4), "index": torch.arange(4)}
    with pytest.raises(TrainingError, match="embeddings of 2 of 4 images are NaN or infinite"):
        _as_outputs(features, made_set(np.arange(4) % 2, ["a", "b"]))
