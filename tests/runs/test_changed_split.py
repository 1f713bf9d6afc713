"""A split that lies in a file: once the file has changed, the same config is another split."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from facelab.config.build import build
from facelab.config.load import load_yaml
from facelab.data.splits.base import prepare
from facelab.runs.dependencies import TrainedOn, find_or_train
from facelab.tracking import SPLIT_FINGERPRINT, SqliteStore
from tests.conftest import TINY_CNN, Command
from tests.data.made import make_folder
from tests.runs.synthetic import INTERRUPTED

PEOPLE, IMAGES = 3, 10


def _write(test_image: int) -> None:
    """A CSV of the images, of which one of each person is for testing."""
    lines = [
        f"person{person}/{image}.png,{person},{'test' if image == test_image else 'train'}"
        for person in range(PEOPLE)
        for image in range(IMAGES)
    ]
    Path("faces.csv").write_text("\n".join(["path,identity,part", *lines]) + "\n")


@pytest.fixture
def arguments(facelab: Command, experiment: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Overrides that train on the split of `faces.csv` in the working folder; interrupted while it evaluates."""
    monkeypatch.setenv("FACELAB_ALLOW", "tests")
    make_folder(Path.cwd(), PEOPLE, IMAGES, size=32)
    _write(test_image=0)
    Path("interrupt").touch()
    of_people = [text for text in TINY_CNN if "last_person" not in text]
    return (*of_people, *experiment, "data=csv", "data.file=faces.csv", "split=official", INTERRUPTED)


@pytest.mark.slow
def test_a_changed_split_is_noticed(
    facelab: Command,
    arguments: tuple[str, ...],
    experiment: tuple[str, str],
    runs: Callable[[], list[Run]],
    client: MlflowClient,
    store_folder: Path,
) -> None:
    assert facelab("train", *arguments).status == 130
    (run,) = runs()
    folder = Path("runs") / run.info.run_id

    _write(test_image=1)
    outcome = facelab("train", f"resume={folder.name}", *experiment)
    assert outcome.status != 0
    assert "the split of faces has changed since the run started" in outcome.error
    assert "split.pairs" in outcome.error
    _write(test_image=0)
    outcome = facelab("train", f"resume={folder.name}", *experiment)
    assert outcome.status == 0, outcome.error

    here = (f"run={folder.name}", experiment[0], "trainer=cpu", "trainer.threads=1")
    outcome = facelab("evaluate", *here)
    assert outcome.status == 0, outcome.error
    _write(test_image=1)
    outcome = facelab("evaluate", *here)
    assert outcome.status != 0
    assert "it saw 3 of the 3 images" in outcome.error
    assert "The split of faces has changed" in outcome.out
    client.delete_tag(folder.name, SPLIT_FINGERPRINT)  # a run of an older version
    outcome = facelab("evaluate", *here)
    assert outcome.status == 0, outcome.error

    config, config_hash = load_yaml(folder / "config.yaml"), run.data.tags["config.hash"]
    store = SqliteStore(str(store_folder), experiment[1].partition("=")[2].strip("'"))

    def found() -> Path:
        built = build({key: config[key] for key in ("data", "split")})
        faces, splits = prepare(built["data"].load(), built["split"])
        on = TrainedOn(faces.fingerprint, splits.fingerprint(faces))
        return find_or_train("model", config_hash, on, store, folder.parent, lambda _: Path("another"))

    assert found() == Path("another")
    _write(test_image=0)
    assert found() == folder.absolute()
