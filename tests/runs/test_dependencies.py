"""What a run records of the runs it depends on."""

from pathlib import Path

from mlflow import MlflowClient

from facelab.models.finished import DOWNLOADED
from facelab.runs.dependencies import record_lineage
from facelab.tracking import SqliteStore, TrackedRun


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
