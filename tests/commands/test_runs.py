"""The table of `facelab runs`."""

from pathlib import Path

import pytest

from facelab.tracking import SqliteStore, TrackedRun
from tests.conftest import Command


def test_ids_are_whole_in_a_narrow_terminal(
    facelab: Command, store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = TrackedRun.create(SqliteStore(str(store_folder)), "recogniser of a long name · split=0", {}, tmp_path)
    run.status("FAILED", "of reasons that are long and wide: " + 5 * "unbreakable_words_in_a_message ")
    assert run.settle()
    assert run.id in facelab("runs", f"tracking.folder={store_folder}").out
