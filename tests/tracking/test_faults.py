"""What a store can do to a run: deleted runs, a full disk, other versions of MLflow."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from alembic import command
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from PIL import Image
from safetensors.torch import save_file
from sqlalchemy import create_engine

from facelab.data.faces import FaceSet
from facelab.errors import ConfigError, TrackingError
from facelab.protocols.base import Outputs
from facelab.runs.closing import recorded
from facelab.runs.embeddings import write_embeddings
from facelab.tracking import SqliteStore, TrackedRun, connect
from facelab.tracking.spool import Spool
from facelab.training.interrupt import StopRequest
from tests.conftest import TINY_CNN, Command


@contextmanager
def _no_file_beyond(size: int) -> Iterator[None]:
    """Whatever this process writes beyond so many bytes of a file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_deleted_while_it_trains_stops_and_says_so(
    facelab: Command, experiment: tuple[str, str], runs: Callable[[], list[Run]], client: MlflowClient, tmp_path: Path
) -> None:
    def delete() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for folder in tmp_path.glob("runs/*/checkpoints/*.ckpt"):
                client.delete_run(folder.parents[1].name)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=delete)
    thread.start()
    longer = ("model.recipe.max_images=64000", "runtime.checkpoint_every_s=0.2")
    outcome = facelab("train", *TINY_CNN, *longer, *experiment)
    thread.join()
    (folder,) = tmp_path.glob("runs/*")
    assert outcome.status == 1, outcome.error
    assert "was deleted in MLflow" in outcome.error
    assert str(folder) in outcome.error
    assert f"mlflow runs restore --run-id {folder.name}" in outcome.error
    assert not runs()
    assert list(folder.glob("checkpoints/*.ckpt"))
    run = TrackedRun.open(folder)
    assert run.ended == "KILLED"
    with pytest.raises(TrackingError, match="was deleted in MLflow"):
        run.deliver(connect(run.uri))
    client.restore_run(run.id)
    assert "delivered" in facelab("sync").out
    assert client.get_run(run.id).info.status == "KILLED"


def test_a_run_deleted_as_it_ends_is_not_waited_for(store_folder: Path, tmp_path: Path) -> None:
    store = SqliteStore(str(store_folder), "deleted")
    run = TrackedRun.create(store, "deleted", {}, tmp_path)
    said: list[str] = []
    with run.delivering(said.append):
        connect(store.uri).delete_run(run.id)
        run.status("FINISHED")
    (message,) = said
    assert "was deleted in MLflow" in message
    assert run.id in message


def test_a_disk_that_is_full_as_the_store_is_made(tmp_path: Path) -> None:
    with _no_file_beyond(100_000), pytest.raises(TrackingError) as raised:
        SqliteStore(str(tmp_path / "full")).open()
    message = str(raised.value)
    assert str(tmp_path / "full" / "mlflow.db") in message
    assert "tracking.folder=" in message
    assert "sqlalche.me" not in message
    assert "\n" not in message


def test_a_store_that_was_interrupted_as_it_was_made_is_made_anew(tmp_path: Path) -> None:
    with _no_file_beyond(100_000), pytest.raises(TrackingError):
        SqliteStore(str(tmp_path)).open()
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db.lock"]
    for left_by_a_kill in ("mlflow.db.new", "mlflow.db.new-journal", "mlflow.db-wal"):
        (tmp_path / left_by_a_kill).write_bytes(b"cut short")
    client, experiment_id = SqliteStore(str(tmp_path)).open()
    assert client.create_run(experiment_id).info.status == "RUNNING"
    assert not list(tmp_path.glob("mlflow.db.new*"))


def test_a_store_that_was_half_made_is_to_be_deleted_if_it_holds_no_runs(tmp_path: Path) -> None:
    database = tmp_path / "half made" / "mlflow.db"
    database.parent.mkdir()
    engine = create_engine(f"sqlite:///{database}")
    InitialBase.metadata.create_all(engine)
    engine.dispose()
    migration = _get_alembic_config(f"sqlite:///{database}")
    command.upgrade(migration, "+1")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE registered_models (name VARCHAR)")  # of a later migration, cut short
    with pytest.raises(TrackingError, match="half made") as raised:
        SqliteStore(str(database.parent)).open()
    subprocess.run(["/bin/sh", "-c", str(raised.value).partition("anew: ")[2]], check=True)
    assert not database.exists()


def test_a_disk_that_fills_up_while_the_store_is_written(facelab: Command, store_folder: Path, tmp_path: Path) -> None:
    store = SqliteStore(str(store_folder), "full")
    run = TrackedRun.create(store, "full", {}, tmp_path / "runs")
    said: list[str] = []
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with _no_file_beyond(100_000), run.delivering(said.append):
        run.metrics({f"value{number}": float(number) for number in range(400)}, 1)
        run.status("FINISHED")
        threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT)).start()  # no patience

    waiting, last = said
    assert store.uri in waiting
    assert "facelab sync" in last
    assert str(run.folder) in last
    assert not any("\n" in message or "sqlalche.me" in message for message in said)
    assert facelab("sync").status == 0
    found = MlflowClient(store.uri).get_run(run.id)
    assert found.info.status == "FINISHED"
    assert sum(name.startswith("value") for name in found.data.metrics) == 400


def test_a_record_cut_by_a_full_disk_does_not_swallow_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.metrics({"value": 1.0}, 1, 0)
    whole = (tmp_path / "spool.jsonl").stat().st_size
    with _no_file_beyond(whole + 10), pytest.raises(TrackingError, match=r"spool\.jsonl could not be written"):
        spool.metrics({"value": 2.0}, 2, 0)
    assert (tmp_path / "spool.jsonl").stat().st_size == whole + 10  # the start of the record
    assert [spooled.item["step"] for spooled in spool.waiting()] == [1]
    spool.delivered(spool.waiting()[-1])
    spool.metrics({"value": 3.0}, 3, 0)
    assert [item["step"] for item in spool.items()] == [1, 3]
    assert [spooled.item["step"] for spooled in spool.waiting()] == [3]


def test_a_file_that_is_gone_does_not_hold_up_what_follows(
    store_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = SqliteStore(str(store_folder), "gone files")
    run = TrackedRun.create(store, "gone files", {}, tmp_path)
    for name in ("gone", "damaged", "whole"):
        Image.new("RGB", (4, 4)).save(run.folder / f"{name}.png")
        run.image(name, f"{name}.png", 1)
    run.file("gone.txt")
    run.metrics({"value": 1.0}, 1)
    (run.folder / "gone.png").unlink()
    content = (run.folder / "damaged.png").read_bytes()
    (run.folder / "damaged.png").write_bytes(content[: len(content) // 2])
    run.deliver(client := connect(run.uri))
    assert not run.spool.waiting()
    found = client.get_run(run.id).data
    assert found.metrics == {"value": 1.0}
    left_out = found.tags["files.undelivered"].split("; ")
    assert [text.partition(" ")[0] for text in left_out] == ["gone.png", "damaged.png", "gone.txt"]
    said = capsys.readouterr().err
    assert all(f"{run.folder}/{text}" in said for text in left_out)
    shown = {item.path.partition("+")[0] for item in client.list_artifacts(run.id, "images")}
    assert shown == {"images/whole"}


def test_what_a_full_disk_leaves_and_runs_that_train_are_skipped(
    facelab: Command, store_folder: Path, tmp_path: Path
) -> None:
    store = SqliteStore(str(store_folder), "skipped")
    waiting, training = (TrackedRun.create(store, name, {}, tmp_path / "runs") for name in ("waiting", "training"))
    (tmp_path / "runs" / "0").mkdir()
    (tmp_path / "runs" / "0" / "spool.jsonl").touch()
    with training.alone():
        outcome = facelab("sync")
    assert outcome.status == 0, outcome.error
    assert f"{waiting.id} (waiting): delivered 1 records" in outcome.out
    assert f"{training.id} (training): skipped" in outcome.out
    assert not waiting.spool.waiting()
    assert training.spool.waiting()


@pytest.mark.parametrize("kind", ["weights", "table", "picture"])
def test_a_disk_that_fills_up_while_a_run_writes_its_files(store_folder: Path, tmp_path: Path, kind: str) -> None:
    run = TrackedRun.create(SqliteStore(str(store_folder), "full"), "full", {}, tmp_path / "runs")
    noise = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8)
    write: Callable[[], object] = {
        "weights": lambda: save_file({"noise": torch.from_numpy(noise)}, run.folder / "model.safetensors"),
        "table": lambda: (run.folder / "predictions.csv").write_text(str(noise.tolist())),
        "picture": lambda: Image.fromarray(noise.reshape(300, 1000)).save(run.folder / "grid.png"),
    }[kind]
    advice = f"To resume: facelab train resume={run.id}"
    with (
        pytest.raises(TrackingError, match=rf"{run.folder}.*Make room on this disk\. {advice}"),
        recorded(run, StopRequest(), advice),
        _no_file_beyond(100_000),
    ):
        write()
    assert run.ended == "FAILED"


def test_embeddings_that_a_full_disk_cannot_hold_leave_nothing(orl: FaceSet, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).random((400, 512), np.float32)
    outputs = Outputs(vectors, None, orl.labels, orl.identities, np.arange(400))
    with _no_file_beyond(100_000), pytest.raises(ConfigError, match=r"File too large.*or make room"):
        write_embeddings(tmp_path / "vectors.safetensors", {"test": outputs}, orl, {})
    assert not list(tmp_path.iterdir())


def _copy(store_folder: Path, folder: Path, mlflow_version: str) -> Path:
    """A copy of the tests' store with one run, which says which MLflow recorded it."""
    store = SqliteStore(str(store_folder), "version")
    TrackedRun.create(store, "kept", {}, folder / "runs", {"version.mlflow": mlflow_version})
    database = folder / "mlflow.db"
    with closing(sqlite3.connect(store_folder / "mlflow.db")) as source, closing(sqlite3.connect(database)) as target:
        source.backup(target)
    return database


def _revision(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_a_store_of_an_older_mlflow_is_not_migrated_unasked(
    facelab: Command, store_folder: Path, tmp_path: Path
) -> None:
    database = _copy(store_folder, tmp_path, "3.1.4")
    newest = _revision(database)
    command.downgrade(_get_alembic_config(f"sqlite:///{database}"), "-1")
    older = _revision(database)
    outcome = facelab("runs")
    assert outcome.status == 2 or outcome.status == 1
    assert _revision(database) == older != newest
    assert "3.1.4" in outcome.error
    assert older in outcome.error
    (line,) = (line.strip() for line in outcome.error.splitlines() if "db upgrade" in line)
    with pytest.raises(TrackingError, match="db upgrade"):
        connect(f"sqlite:///{database}")
    typed = line.replace("mlflow db", f"'{sys.executable}' -m mlflow db")
    subprocess.run(["/bin/sh", "-c", typed], check=True, capture_output=True)
    assert _revision(database) == newest
    assert _revision(Path(f"{database}.backup")) == older
    assert "kept" in facelab("runs").out


def test_a_store_of_a_newer_mlflow_names_it(facelab: Command, store_folder: Path, tmp_path: Path) -> None:
    database = _copy(store_folder, tmp_path, "9.1.0")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    error = facelab("runs").error
    assert str(database) in error
    assert "ffffffffffff" in error
    assert "pip install mlflow==9.1.0" in error
    assert "tracking.folder=" in error


@pytest.mark.parametrize("name", ["who?", "a%41", "My%20faces"])
def test_a_folder_that_mlflow_would_take_for_another_is_refused(facelab: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    outcome = facelab("runs", f"tracking.folder='{tmp_path / name}'")
    assert outcome.status == 2
    assert f"{tmp_path / name}" in outcome.error
    assert "choose another one with tracking.folder=<folder>" in outcome.error
    assert not list((tmp_path / name).iterdir())


def test_a_folder_of_other_unusual_characters_holds_a_store(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "é 50% #1 & \"x\";'y'"))
    TrackedRun.create(store, "x", {}, tmp_path / "runs")
    assert [path.name for path in tmp_path.rglob("mlflow.db")] == ["mlflow.db"]
    assert store.database.is_file()
