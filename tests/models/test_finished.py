"""Runs that are found by their id, in a folder or in their store."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from facelab.errors import ConfigError, TrackingError
from facelab.models.finished import find_run
from facelab.models.trained import load
from facelab.runs.fit import dependency_folders
from facelab.tracking import ServerStore, SqliteStore, Store, TrackedRun, connect
from tests.conftest import Command, free_port, server
from tests.models.recorded import recorded_run


@pytest.fixture
def store(store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FACELAB_ALLOW", "tests")
    return SqliteStore(str(store_folder), "finished")


def _same(first: Path, second: Path) -> bool:
    weights, others = (load(folder).module.state_dict() for folder in (first, second))
    return all(torch.equal(value, others[name]) for name, value in weights.items())


def test_a_run_without_a_folder_is_downloaded_once(store: Store, store_folder: Path, tmp_path: Path) -> None:
    run = recorded_run(store, tmp_path / "there")
    assert find_run(run.id, tmp_path / "there", store) == tmp_path / "there" / run.id
    found = find_run(run.id, tmp_path / "here", store)
    assert _same(found, run.folder)
    assert {path.name for path in found.iterdir()} == {"config.yaml", "model.safetensors", "images.parquet"}
    assert [path.name for path in found.parent.iterdir()] == [run.id]
    assert find_run(run.id, tmp_path / "here", SqliteStore(str(tmp_path / "none"))) == found


def test_a_deleted_file_of_a_downloaded_run_is_downloaded_again(store: Store, tmp_path: Path) -> None:
    run, needing = (recorded_run(store, tmp_path / "there"), TrackedRun.create(store, "x", {}, tmp_path / "here"))
    found = find_run(run.id, tmp_path / "here", store)
    needing.tag("needs.embedder", run.id)
    assert dependency_folders(needing) == {"embedder": found}
    for lost in ("model.safetensors", "config.yaml"):
        (found / lost).unlink()
        assert find_run(run.id, tmp_path / "here", store) == found
        assert _same(found, run.folder)
        assert [path.name for path in found.parent.iterdir()] == [run.id]
    shutil.copytree(run.folder, tmp_path / "here" / run.id)
    assert find_run(run.id, tmp_path / "here", store) == tmp_path / "here" / run.id
    assert dependency_folders(needing) == {"embedder": tmp_path / "here" / run.id}


def _artifact(store: Store, run: TrackedRun, name: str) -> Path:
    return Path(connect(store.uri).get_run(run.id).info.artifact_uri.removeprefix("file://")) / name


def test_a_cut_or_changed_file_is_refused_and_not_kept(store: Store, tmp_path: Path) -> None:
    run = recorded_run(store, tmp_path / "there")
    weights = _artifact(store, run, "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(TrackingError, match=r"model\.safetensors of run .* is not what the run recorded.*SHA-256"):
        find_run(run.id, tmp_path / "here", store)
    assert not list((tmp_path / "here" / "downloaded").iterdir())


def test_nothing_of_a_foreign_store_is_built_unchecked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded_run(store, tmp_path / "there")
    monkeypatch.setenv("FACELAB_ALLOW", "")
    with pytest.raises(ConfigError, match="outside the allowed packages"):
        load(find_run(run.id, tmp_path / "here", store))


def test_runs_without_weights_are_told_apart(store: Store, tmp_path: Path) -> None:
    runs = {
        "is RUNNING and has no model.safetensors yet. Resume it": {},
        "is an evaluation and has no weights of its own. Give the run it evaluates: abc": {"evaluates": "abc"},
        "is the parent run of a sweep": {"sweep.name": "families"},
        "has finished, but its store has no model.safetensors. It was made by facelab 0.0.7": {
            "version.facelab": "0.0.7"
        },
    }
    for says, tags in runs.items():
        run = TrackedRun.create(store, "x", {}, tmp_path / "there", tags)
        run.status("RUNNING" if not tags else "FINISHED")
        assert run.settle()
        with pytest.raises(ConfigError) as error:
            find_run(run.id, tmp_path / "here", store)
        assert f"run={run.id}: it {says}" in str(error.value)


def test_an_unknown_run_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such run in"):
        find_run("0" * 32, tmp_path / "here", store)
    assert not list(tmp_path.iterdir())


def test_a_path_is_no_id_of_a_run(store: Store, tmp_path: Path) -> None:
    run = recorded_run(store, tmp_path / "here")
    for given in (f"{run.id}/", f"../here/{run.id}", str(run.folder), "here", ".", "", f"{run.id}\n", "a' OR 1=1"):
        with pytest.raises(ConfigError) as error:
            find_run(given, tmp_path / "here", store, "synthetic.run")
        assert f"synthetic.run={given}: there is no such run, since run ids are 32 hex" in str(error.value)
        assert (f"Type synthetic.run={run.id}." in str(error.value)) == (Path(given).name == run.id)


def test_generate_downloads_its_run(facelab: Command, store: Store, store_folder: Path, tmp_path: Path) -> None:
    run = recorded_run(store, tmp_path / "there")
    outcome = facelab("generate", f"run={run.id}", f"tracking.folder={store_folder}")
    assert "CNN, cannot generate faces" in outcome.error
    assert (tmp_path / "runs" / "downloaded" / run.id / "model.safetensors").is_file()


@pytest.mark.parametrize("command", ["generate", "export", "demo", "evaluate", "enroll"])
def test_a_folder_that_tab_completion_gave_says_what_to_type(facelab: Command, tmp_path: Path, command: str) -> None:
    (tmp_path / "people" / "ada").mkdir(parents=True)
    Image.new("L", (16, 16)).save(tmp_path / "people" / "ada" / "1.png")
    before = sorted(tmp_path.rglob("*"))
    further = {"enroll": ["source=people", "gallery=office"], "demo": [f"port={free_port()}"]}
    outcome = facelab(command, f"run=runs/{'0' * 32}/", *further.get(command, []))
    assert outcome.status == 2
    assert f"Type run={'0' * 32}." in outcome.error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("FACELAB_ALLOW", "tests")
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    with server(folder, port):
        yield ServerStore(f"http://127.0.0.1:{port}", "finished")


@pytest.mark.slow
def test_a_run_is_downloaded_from_a_server(remote: Store, tmp_path: Path) -> None:
    run = recorded_run(remote, tmp_path / "there")
    assert _same(find_run(run.id, tmp_path / "here", remote), run.folder)
    with pytest.raises(ConfigError, match="there is no such run"):
        find_run("0" * 32, tmp_path / "here", remote)
    shutil.rmtree(tmp_path / "here")
    kept = next((tmp_path / "server" / "a").rglob("model.safetensors"))
    kept.write_bytes(kept.read_bytes()[:-4])
    with pytest.raises(TrackingError, match="is not what the run recorded"):
        find_run(run.id, tmp_path / "here", remote)
    assert not list((tmp_path / "here" / "downloaded").iterdir())
