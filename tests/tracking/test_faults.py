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

import pytest
from alembic import command
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.db.utils import _get_alembic_config

from facelab.errors import TrackingError
from facelab.tracking import SqliteStore, TrackedRun, connect
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
