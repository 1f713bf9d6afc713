"""The tracker against real sqlite stores and a real server."""

import signal
import sqlite3
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from facelab.errors import TrackingError
from facelab.runs.closing import recorded
from facelab.tracking import SqliteStore, TrackedRun, child_tags, connect, recent_runs
from facelab.tracking.spool import Spool
from facelab.training.interrupt import StopRequest
from tests.conftest import TINY_CNN, Command, free_port, server, start, wait_for_checkpoint


def _no_warning(message: str) -> None:
    raise AssertionError(message)


def test_nothing_is_lost_while_the_store_is_locked(store_folder: Path, tmp_path: Path) -> None:
    store = SqliteStore(str(store_folder), "locked")
    run = TrackedRun.create(store, "locked", {"a": "1"}, tmp_path)
    with run.delivering(lambda message: None):
        lock = sqlite3.connect(store_folder / "mlflow.db", check_same_thread=False)
        lock.execute("BEGIN EXCLUSIVE")
        begun = time.perf_counter()
        for step in range(1500):  # more than a call of MLflow's takes
            run.metrics({"value": step / 2}, step)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(run.folder / "picture.png")
        run.image("picture", "picture.png", 7)
        assert time.perf_counter() - begun < 1.0, "training must not wait for the store"
        threading.Timer(3.0, lock.rollback).start()
        run.status("FINISHED")
    client = MlflowClient(store.uri)
    history = client.get_metric_history(run.id, "value")
    assert [(point.step, point.value) for point in history] == [(step, step / 2) for step in range(1500)]
    assert any("+step+7+" in item.path for item in client.list_artifacts(run.id, "images"))
    found = client.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert any(name.startswith("system/") for name in found.data.metrics)
    assert not run.spool.waiting()


def test_long_parameters_are_not_cut(store_folder: Path, tmp_path: Path) -> None:
    store = SqliteStore(str(store_folder), "long")
    params = {f"key{i}": "x" * 5000 for i in range(130)}
    run = TrackedRun.create(store, "long", params, tmp_path)
    with run.delivering(_no_warning):
        run.status("FAILED", "because")
    found = MlflowClient(store.uri).get_run(run.id)
    assert found.data.params == params
    assert found.info.status == "FAILED"
    assert found.data.tags["reason"] == "because"


def test_points_sent_twice_are_there_once(store_folder: Path, tmp_path: Path) -> None:
    store = SqliteStore(str(store_folder), "twice")
    run = TrackedRun.create(store, "twice", {}, tmp_path)
    run.metrics({"value": 0.1, "other": float("nan")}, 1)
    run.metrics({"value": 0.2}, 2)
    run.deliver(connect(run.uri))
    (run.folder / "spool.delivered").unlink()  # as if killed after sending, before striking it off
    again = TrackedRun.open(run.folder)
    assert len(again.spool.waiting()) == 3  # the header and the points
    again.deliver(connect(run.uri))
    again.metrics({"value": 5.0}, 2)  # as a run does that goes on from an older checkpoint
    again.metrics({"value": 0.3}, 3)
    again.deliver(connect(run.uri))
    history = MlflowClient(store.uri).get_metric_history(run.id, "value")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_a_line_cut_off_by_a_kill_does_not_swallow_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.metrics({"value": 1.0}, 1, 0)
    with (tmp_path / "spool.jsonl").open("a") as file:
        file.write('{"metrics": {"val')
    assert len(spool.waiting()) == 1  # it may still be being written
    spool = Spool(tmp_path)
    spool.metrics({"value": 2.0}, 2, 0)
    assert [item["step"] for item in spool.items()] == [1, 2]
    spool.delivered(spool.waiting()[0])
    assert [spooled.item["step"] for spooled in Spool(tmp_path).waiting()] == [2]


def test_only_one_process_is_at_a_run(store_folder: Path, tmp_path: Path) -> None:
    run = TrackedRun.create(SqliteStore(str(store_folder), "alone"), "alone", {}, tmp_path)
    with run.alone(), pytest.raises(TrackingError, match="another process"), TrackedRun.open(run.folder).alone():
        pass


def test_runs_without_a_sign_of_life_are_closed(facelab: Command, tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "dead"), "dead")
    dead, alive, foreign = (TrackedRun.create(store, name, {}, tmp_path / "runs") for name in ("a", "b", "c"))
    client = connect(store.uri)
    beat_ms = int(time.time() * 1000) - 61_000
    client.set_tag(dead.id, "heartbeat", str(beat_ms))
    client.delete_tag(foreign.id, "heartbeat")
    rows = {row.id: row for row in recent_runs(store, 10)}
    assert rows[dead.id].status == "KILLED"
    assert "no heartbeat" in rows[dead.id].reason
    assert client.get_run(dead.id).info.end_time == beat_ms
    assert rows[alive.id].status == rows[foreign.id].status == "RUNNING"
    outcome = facelab("runs", f"tracking.folder={tmp_path / 'dead'}", "limit=2")
    assert outcome.status == 0
    assert alive.id in outcome.out
    assert dead.id not in outcome.out  # the oldest of three


def test_a_job_that_waits_in_a_queue_is_not_closed(store_folder: Path, tmp_path: Path) -> None:
    store, runs = SqliteStore(str(store_folder), "queue"), tmp_path / "runs"
    sweep = TrackedRun.create(store, "sweep", {}, runs)
    waiting, begun = (
        TrackedRun.create(store, seed, {}, runs, child_tags(sweep.id, {"seed": seed}, None)) for seed in ("1", "2")
    )
    begun.metrics({"value": 1.0}, 1)
    begun.deliver(client := connect(store.uri))
    for run in (waiting, begun):
        client.set_tag(run.id, "heartbeat", str(int(time.time() * 1000) - 61_000))
    status = {row.id: row.status for row in recent_runs(store, 1000)}
    assert (status[waiting.id], status[begun.id]) == ("RUNNING", "KILLED")


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_run_that_was_closed_for_its_silence_is_running_again_and_finishes_without_a_reason(
    store_folder: Path, tmp_path: Path, when: str
) -> None:
    store = SqliteStore(str(store_folder), "silent")
    run = TrackedRun.create(store, "silent", {}, tmp_path)
    client = connect(store.uri)

    def close() -> None:
        client.set_tag(run.id, "heartbeat", str(int(time.time() * 1000) - 61_000))
        assert next(row for row in recent_runs(store, 1000) if row.id == run.id).status == "KILLED"

    if when == "before":
        close()
    with recorded(run, StopRequest(), advice=""):
        deadline = time.monotonic() + 30
        while run.spool.waiting() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert client.get_run(run.id).info.status == "RUNNING"
        assert "reason" not in client.get_run(run.id).data.tags
        if when == "within":  # the store was out of reach for a minute
            close()
    found = client.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert "reason" not in found.data.tags


def test_a_store_without_runs_says_so(facelab: Command, store_folder: Path, tmp_path: Path) -> None:
    SqliteStore(str(tmp_path / "empty")).open()
    assert "no runs" in facelab("runs", f"tracking.folder={tmp_path / 'empty'}").out
    outcome = facelab("sync")
    assert outcome.status == 2
    assert "runs_folder" in outcome.error


def _server_overrides(port: int) -> tuple[str, ...]:
    return (*TINY_CNN, "tracking=server", f"tracking.uri=http://127.0.0.1:{port}", "runtime.checkpoint_every_s=0.5")


@pytest.mark.slow
def test_a_server_that_goes_away_and_comes_back_costs_nothing(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    with server(folder, port):
        process = start(tmp_path, *_server_overrides(port), "model.recipe.max_images=9600")
        run_folder = wait_for_checkpoint(tmp_path, process)
    wait_for_checkpoint(tmp_path, process, after=4800)  # it goes on without the server
    with server(folder, port):
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        client = MlflowClient(f"http://127.0.0.1:{port}")
        assert client.get_run(run_folder.name).info.status == "FINISHED"
        steps = [point.step for point in client.get_metric_history(run_folder.name, "train/loss")]
        recorded = [item["step"] for item in Spool(run_folder).items() if "train/loss" in item.get("metrics", {})]
        assert steps == recorded
        assert steps[-1] == 9600
        assert "images" in {item.path for item in client.list_artifacts(run_folder.name)}
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
def test_a_server_gone_for_good_leaves_a_spool_to_deliver(facelab: Command, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    with server(folder, port):
        process = start(tmp_path, *_server_overrides(port), "model.recipe.max_images=4800")
        run_folder = wait_for_checkpoint(tmp_path, process)
    deadline = time.monotonic() + 90
    while TrackedRun.open(run_folder).ended is None and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(2)
    process.send_signal(signal.SIGINT)  # no patience
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "facelab sync" in output
    assert facelab("sync").status == 1
    with server(folder, port):
        outcome = facelab("sync", f"uri=http://127.0.0.1:{port}")  # a server is named by the user, not by the run
        assert outcome.status == 0, outcome.error
        assert run_folder.name in outcome.out
        client = MlflowClient(f"http://127.0.0.1:{port}")
        assert client.get_run(run_folder.name).info.status == "FINISHED"
        assert client.get_metric_history(run_folder.name, "train/loss")[-1].step == 4800
        assert "have been delivered" in facelab("sync").out


def _open(folder: str, experiment: str) -> str:
    return SqliteStore(folder, experiment).open()[1]


@pytest.mark.slow
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
