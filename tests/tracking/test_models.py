"""Models that runs log: delivered once, loaded without facelab's folders, registered, found again."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from facelab.exporting.served import interface
from facelab.models.finished import find_run
from facelab.models.trained import load
from facelab.models.transfer import weights_digest
from facelab.tracking import ModelRecord, SqliteStore, TrackedRun, connect
from tests.conftest import TINY_CNN, Command
from tests.exporting.untrained import write_run


def finished_run(store: SqliteStore, runs_folder: Path, choice: str = "cnn", side: int = 32) -> TrackedRun:
    """A run that has recorded a model, undelivered."""
    made = write_run(runs_folder.parent / "made", choice, side)
    run = TrackedRun.create(store, "cnn · split=0.5: 'a'", {"model": choice}, runs_folder)
    for name in ("config.yaml", "model.safetensors"):
        shutil.copy(made / name, run.folder)
    run.file("config.yaml")
    record_model(run, store.register)
    run.status("FINISHED")
    return run


def record_model(run: TrackedRun, register: str | None = None) -> None:
    trained = load(run.folder)
    digest, kind = weights_digest(run.folder), type(trained.module).__name__
    run.tag("model.sha256", digest)
    made = interface(trained.module, trained.metadata)
    run.model(ModelRecord("config.yaml", "model.safetensors", digest, made, kind, register))


def models_of(run: TrackedRun) -> list[str]:
    outputs = connect(run.uri).get_run(run.id).outputs
    return [output.model_id for output in outputs.model_outputs]


def place_of(model_id: str, client: MlflowClient) -> Path:
    return Path(client.get_logged_model(model_id).artifact_location.removeprefix("file://"))


@pytest.fixture
def store(store_folder: Path) -> SqliteStore:
    return SqliteStore(str(store_folder), "models")


@pytest.fixture
def loaded_from(store: SqliteStore) -> Iterator[None]:
    """Let mlflow.pyfunc.load_model look into the store."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store.uri)
    yield
    mlflow.set_tracking_uri(before)


@pytest.mark.usefixtures("loaded_from")
def test_a_logged_model_answers_and_holds_no_pickle(store: SqliteStore, client: MlflowClient, tmp_path: Path) -> None:
    run = finished_run(store, tmp_path / "runs")
    run.deliver(client)
    (model_id,) = models_of(run)
    place = place_of(model_id, client)
    files = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert files == {
        "MLmodel",
        "artifacts/config.yaml",
        "artifacts/model.safetensors",
        "conda.yaml",
        "input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "served_model.py",
        "serving_input_example.json",
    }
    assert (place / "requirements.txt").read_text().splitlines()[0].startswith("facelab==")
    described = (place / "MLmodel").read_text()
    assert "artifacts/model.safetensors" in described
    assert str(run.folder) not in described
    assert "/served_model.py" not in described
    weights = (run.folder / "model.safetensors").read_bytes()
    kept = [path for path in Path(store.folder / "mlartifacts").rglob("*") if path.is_file()]
    assert sum(path.read_bytes() == weights for path in kept) == 1, "the store keeps the weights once"
    model = mlflow.pyfunc.load_model(f"models:/{model_id}")
    example = json.loads((place / "serving_input_example.json").read_text())["dataframe_split"]
    found = model.predict(pd.DataFrame(example["data"], columns=example["columns"]))
    assert list(found.columns) == [column.name for column in model.metadata.signature.outputs]
    for table, says in (
        ({"image": ["?"]}, "row 0: the image is not base64"),
        ({"picture": ["?"]}, "Model is missing inputs ['image']"),
        ({"image": [7]}, "Incompatible input types for column image"),
    ):
        with pytest.raises(MlflowException) as error:
            model.predict(pd.DataFrame(table))
        assert says in str(error.value)


def test_a_model_delivered_again_is_there_once(store: SqliteStore, client: MlflowClient, tmp_path: Path) -> None:
    store.register = "twice"
    run = finished_run(store, tmp_path / "runs")
    run.deliver(client)
    record_model(run, store.register)  # as a resumed run does whose evaluation was interrupted
    (run.folder / "spool.delivered").unlink()  # as if killed after sending, before striking it off
    run.deliver(client)
    (model_id,) = models_of(run)
    assert (
        len(client.search_logged_models([client.get_run(run.id).info.experiment_id], f"source_run_id = '{run.id}'"))
        == 1
    )
    (registered,) = client.search_model_versions("name = 'twice'")
    assert (registered.run_id, registered.source) == (run.id, client.get_logged_model(model_id).artifact_location)
    assert not (run.folder / ".model").exists()


def test_an_upload_that_was_cut_is_completed(store: SqliteStore, client: MlflowClient, tmp_path: Path) -> None:
    run = finished_run(store, tmp_path / "runs")
    (run.folder / ".model").touch()  # where the folder of the model is to be written
    with pytest.raises((OSError, MlflowException)):
        run.deliver(client)
    experiment = client.get_run(run.id).info.experiment_id
    (pending,) = client.search_logged_models([experiment], f"source_run_id = '{run.id}'")
    assert (pending.status, models_of(run)) == ("PENDING", [])
    (run.folder / ".model").unlink()
    run.deliver(client)
    assert models_of(run) == [pending.model_id]
    assert client.get_logged_model(pending.model_id).status == "READY"
    assert not run.spool.waiting()


def test_a_name_the_registry_refuses_holds_nothing_up(store: SqliteStore, client: MlflowClient, tmp_path: Path) -> None:
    client.register_prompt("taken", "a prompt of this name")
    store.register = "taken"
    run = finished_run(store, tmp_path / "runs")
    run.deliver(client)
    found = client.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert found.data.tags["register.fault"].startswith("tracking.register=taken: ")
    assert len(models_of(run)) == 1


def test_a_model_of_an_absent_store_is_delivered_by_sync(
    facelab: Command, store: SqliteStore, client: MlflowClient, tmp_path: Path
) -> None:
    run = finished_run(store, tmp_path / "runs")
    away = store.database.with_name("away.db")
    store.database.rename(away)
    settled = run.settle()
    away.rename(store.database)
    assert not settled
    assert run.spool.waiting()
    outcome = facelab("sync")
    assert outcome.status == 0, outcome.error
    assert len(models_of(run)) == 1


def test_a_run_is_found_by_its_model(store: SqliteStore, client: MlflowClient, tmp_path: Path) -> None:
    run = finished_run(store, tmp_path / "runs")
    run.deliver(client)
    found = find_run(run.id, tmp_path / "elsewhere", store)
    assert weights_digest(found) == weights_digest(run.folder)
    assert {path.name for path in found.iterdir()} == {"config.yaml", "model.safetensors"}
    shutil.rmtree(tmp_path / "elsewhere")
    client.delete_logged_model(models_of(run)[0])
    with pytest.raises(Exception, match=r"has finished, but its store has no model\.safetensors"):
        find_run(run.id, tmp_path / "elsewhere", store)


@pytest.mark.usefixtures("loaded_from")
def test_training_logs_and_registers_its_model(
    facelab: Command, experiment: tuple[str, str], client: MlflowClient, tmp_path: Path
) -> None:
    outcome = facelab("train", *TINY_CNN, *experiment, "tracking.register=office")
    assert outcome.status == 0, outcome.error
    (registered,) = client.search_model_versions("name = 'office'")
    run = client.get_run(registered.run_id)
    (output,) = run.outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/office/{registered.version}")
    example = place_of(output.model_id, client) / "input_example.json"
    found = model.predict(pd.read_json(example, orient="split"))
    assert set(found["identities"][0]) <= {f"s{i}" for i in range(1, 7)}
    weights = tmp_path / "runs" / registered.run_id / "model.safetensors"
    assert weights.is_file()
    assert "model.safetensors" not in {item.path for item in client.list_artifacts(registered.run_id)}


def test_a_name_that_cannot_be_registered_is_refused_before_training(facelab: Command) -> None:
    for name in ("a/b", "a:b", "", " ", ".."):
        with pytest.raises(ValueError, match="register must be a name without / and :"):
            SqliteStore(register=name)
    outcome = facelab("train", "tracking.register=a/b")
    assert (outcome.status, "tracking: register must be a name without / and :" in outcome.error) == (2, True)
