"""What a run records of the runs it depends on."""

import hashlib
from pathlib import Path

from mlflow import MlflowClient

from facelab.models.finished import DOWNLOADED
from facelab.runs.dependencies import TrainedOn, initial_weights, record_lineage
from facelab.tracking import INIT_FROM_SHA256, SPLIT_FINGERPRINT, SqliteStore, TrackedRun


def test_a_downloaded_run_serves_although_its_record_was_deleted(
    store_folder: Path, client: MlflowClient, tmp_path: Path
) -> None:
    store = SqliteStore(str(store_folder), "lineage")
    needing, kept, gone = (TrackedRun.create(store, name, {}, tmp_path) for name in ("needing", "kept", "gone"))
    client.delete_run(gone.id)
    for needed in (kept, gone):
        record_lineage(needed.name, needing, tmp_path / DOWNLOADED / needed.id, "0" * 64, store)
    assert needing.needs() == {"kept": kept.id, "gone": gone.id}
    assert client.get_run(kept.id).data.tags[f"needed_by.{needing.id}"] == "kept"


def test_a_run_is_used_again_only_if_it_started_from_the_same_weights(store_folder: Path, tmp_path: Path) -> None:
    run = TrackedRun.create(SqliteStore(str(store_folder), "lineage"), "started", {}, tmp_path)
    weights = tmp_path / "encoder.safetensors"
    weights.write_bytes(b"weights")
    digest = initial_weights({"model": {"init_from": str(weights)}})
    assert digest == hashlib.sha256(b"weights").hexdigest()
    for key, value in (("data.fingerprint", "faces"), (SPLIT_FINGERPRINT, "split"), (INIT_FROM_SHA256, digest)):
        run.tag(key, value)
    assert TrainedOn("faces", "split", digest).are_of(run)
    assert not TrainedOn("faces", "split", "0" * 64).are_of(run)
    for unchanging in ({}, {"init_from": None}, {"init_from": "0" * 32}):
        assert initial_weights({"model": unchanging}) is None
