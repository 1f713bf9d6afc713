"""The tracker against a real sqlite store."""

import sqlite3
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from facelab.errors import TrackingError
from facelab.tracking import SqliteStore, TrackedRun


def test_nothing_is_lost_while_the_store_is_locked(store_folder: Path) -> None:
    store = SqliteStore(str(store_folder), "locked")
    run = TrackedRun(store, "locked", {"a": "1"})
    lock = sqlite3.connect(store_folder / "mlflow.db", check_same_thread=False)
    lock.execute("BEGIN EXCLUSIVE")
    begun = time.perf_counter()
    for step in range(1500):  # more than a call of MLflow's takes
        run.metrics({"value": step / 2}, step)
    run.picture("picture", np.zeros((4, 4, 3), np.uint8), 7)
    assert time.perf_counter() - begun < 1.0, "training must not wait for the store"
    threading.Timer(3.0, lock.rollback).start()
    run.finish("FINISHED")
    client = MlflowClient(store.uri)
    history = client.get_metric_history(run.id, "value")
    assert [(point.step, point.value) for point in history] == [(step, step / 2) for step in range(1500)]
    assert any("+step+7+" in item.path for item in client.list_artifacts(run.id, "images"))
    assert client.get_run(run.id).info.status == "FINISHED"


def test_long_parameters_are_not_cut(store_folder: Path) -> None:
    store = SqliteStore(str(store_folder), "long")
    params = {f"key{i}": "x" * 5000 for i in range(130)}
    run = TrackedRun(store, "long", params)
    run.finish("FAILED", "because")
    found = MlflowClient(store.uri).get_run(run.id)
    assert found.data.params == params
    assert found.info.status == "FAILED"
    assert found.data.tags["reason"] == "because"


def _open(folder: str, experiment: str) -> str:
    return SqliteStore(folder, experiment).open()[1]


def test_many_first_uses_at_once_give_one_experiment(tmp_path: Path) -> None:
    with get_context("spawn").Pool(3) as pool:
        ids = pool.starmap(_open, [(str(tmp_path), "shared")] * 6)
    assert len(set(ids)) == 1


def test_a_deleted_experiment_is_named(store_folder: Path) -> None:
    store = SqliteStore(str(store_folder), "gone")
    client, experiment_id = store.open()
    client.delete_experiment(experiment_id)
    with pytest.raises(TrackingError, match="was deleted"):
        store.open()


def test_the_stores_address_is_absolute_whatever_the_folder_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore(".")
    monkeypatch.chdir("/")
    assert store.uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
