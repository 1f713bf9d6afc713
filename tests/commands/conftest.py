"""A small recogniser, and AT&T faces to enrol with it."""

import shutil
from pathlib import Path

import pytest
import torch

from facelab.data.sources.orl import ORL
from facelab.tracking import SqliteStore, TrackedRun
from tests.models.recorded import recorded_run

TEN = {"_target_": "facelab.data.ORL", "image_size": 16, "channels": 1, "last_person": 10}
FOUR_VALIDATE = {"_target_": "facelab.data.IdentityDisjoint", "train_people": 2, "val_people": 4}


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def run(runs_folder: Path, store_folder: Path) -> TrackedRun:
    """A small recogniser with four validation people, s3 to s6; its random weights do not depend on other tests."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(1)
        patch.setenv("FACELAB_ALLOW", "tests")
        return recorded_run(SqliteStore(str(store_folder), "galleries"), runs_folder, data=TEN, split=FOUR_VALIDATE)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images 1 to 3 of the people s7 to s10, a folder each, and image 4 of each in the folder `probes`."""
    folder = tmp_path_factory.mktemp("faces")
    rows = ORL(last_person=10).rows()
    for i, name in enumerate(rows.names):
        person, number = rows.columns["identity"][i], int(Path(name).stem)
        if int(person[1:]) > 6 and number <= 4:
            place = folder / "people" / person / f"{number}.png" if number < 4 else folder / "probes" / f"{person}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            rows.images.image(i).save(place)
    return folder


@pytest.fixture
def here(tmp_path: Path, faces: Path, runs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the command, with `people`, `probes` and `runs`."""
    monkeypatch.setenv("FACELAB_ALLOW", "tests")
    shutil.copytree(faces, tmp_path, dirs_exist_ok=True)
    (tmp_path / "runs").symlink_to(runs_folder)
    return tmp_path


@pytest.fixture
def enrolling(run: TrackedRun) -> tuple[str, ...]:
    return ("enroll", f"run={run.id}", "source=people", "gallery=office", "aligned=true", "fpir=0.8")
