"""The table of `facelab runs`."""

from pathlib import Path

import pytest

from facelab.tracking import SqliteStore, TrackedRun
from facelab.tracking.run import HEARTBEAT
from tests.conftest import Command


def test_ids_are_whole_in_a_narrow_terminal(
    facelab: Command, store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = TrackedRun.create(SqliteStore(str(store_folder)), "recogniser of a long name · split=0", {}, tmp_path)
    run.status("FAILED", "of reasons that are long and wide: " + 5 * "unbreakable_words_in_a_message ")
    assert run.settle()
    assert run.id in facelab("runs", f"tracking.folder={store_folder}").out


def test_runs_that_other_programs_have_ended_or_tagged_are_listed(facelab: Command, store_folder: Path) -> None:
    client, experiment = SqliteStore(str(store_folder)).open()
    ended = client.create_run(experiment).info.run_id
    client.update_run(ended, status="FAILED")
    tagged = client.create_run(experiment, tags={HEARTBEAT: "soon"}).info.run_id
    outcome = facelab("runs", f"tracking.folder={store_folder}")
    assert outcome.status == 0, outcome.error
    assert ended in outcome.out
    assert tagged in outcome.out


def test_records_of_a_file_are_not_sent_to_another(facelab: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    outcome = facelab("sync", f"uri=sqlite:///{tmp_path}/mlflow.db")
    assert outcome.status == 2
    assert "uri: expected the http:// or https:// address" in outcome.error
