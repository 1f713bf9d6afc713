"""What runs with synthetic faces have seen through the runs behind them."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from facelab.config.load import load_yaml
from facelab.data import ORL, Concat, Folder
from facelab.data.image_list import ImageList, read_image_list
from facelab.data.source import FaceSource
from facelab.data.splits.base import Splits
from facelab.errors import DataError
from facelab.runs.origins import images_used
from tests.conftest import TINY_CNN, Command
from tests.runs.synthetic import NEEDED_CNN, generator_of, runs_folder_of, train_run

EACH = np.arange(6)
HALVES = ("split.train=0.5", "split.val=0", "split.test=0.5", "split.duplicates=drop")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["split.seed=3"], "it has seen 9 of the test images of this run: s1/4.pgm"),
        (["split=few_shot"], "of the test images of this run"),
        (["split=identity_disjoint", "split.train_people=4", "protocol=verification"], "16 of the test images"),
        (["data.last_person=7"], "a generator of other people: it was not trained on 1 of the 7 classes in training"),
        (["data.image_size=16"], "images of 32 x 32 with 1 channels; those of this run have 16 x 16 and 1"),
        (["data.channels=3"], "Set data.image_size=32 data.channels=1"),
        (["synthetic.run=0123"], "synthetic.run=0123: there is no such run"),
        (["synthetic.run={folder}"], "since run ids are 32 hexadecimal digits. Type synthetic.run="),
    ],
)
def test_a_generator_that_saw_the_test_or_does_not_fit_is_refused(
    facelab: Command, place: Sequence[str], generator: Path, overrides: list[str], says: str
) -> None:
    before = set(runs_folder_of(place).iterdir())
    given = ("synthetic=gan_conditional", f"synthetic.run={generator.name}")
    overrides = [override.format(folder=generator) for override in overrides]
    outcome = facelab("train", *TINY_CNN, *place, *given, *overrides)
    assert outcome.status == 2
    assert says in outcome.error
    assert "Traceback" not in outcome.error
    assert set(runs_folder_of(place).iterdir()) == before


def _recogniser(init_from: str) -> tuple[str, ...]:
    its = [*NEEDED_CNN, f"model.init_from={init_from}"]
    return "synthetic.selection=recogniser", f"synthetic.recogniser={its}"


@pytest.mark.parametrize(
    ("role", "way_out"), [("recogniser", "It would select faces like them"), ("generator", "Its faces would show them")]
)
def test_a_run_that_is_yet_to_be_trained_from_one_that_saw_the_test_is_refused_before(
    facelab: Command, place: Sequence[str], generator: Path, plain: Path, role: str, way_out: str
) -> None:
    before = set(runs_folder_of(place).iterdir())
    nested = generator_of("synthetic=gan_conditional", f"synthetic.run={generator.name}")
    needed = _recogniser(plain.name) if role == "recogniser" else (nested,)
    outcome = facelab("train", *TINY_CNN, *place, "split.seed=3", "synthetic=gan_conditional", *needed)
    assert outcome.status == 2
    assert f"synthetic.{role}: it has seen 9 of the test images of this run: s1/4.pgm" in outcome.error
    assert f"{way_out}" in outcome.error
    assert f"Leave out of synthetic.{role} what names another run" in outcome.error
    assert set(runs_folder_of(place).iterdir()) == before


def test_what_the_recogniser_started_from_is_seen_by_the_run_and_a_deleted_generator_is_named(
    place: Sequence[str], generator: Path, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    others = ("data.first_person=7", "data.last_person=12")
    first = train_run(place, *TINY_CNN[1:], *others, "model.recipe.max_images=32")
    given = ("synthetic=gan_conditional", f"synthetic.run={generator.name}", "synthetic.per_identity=1")
    client.delete_run(generator.name)
    run = train_run(place, *TINY_CNN, *given, *_recogniser(first.name))
    client.restore_run(generator.name)
    assert f"synthetic.run={generator.name}: sqlite:///" in capsys.readouterr().err
    used = read_image_list(run / "images.parquet").table.to_pandas()
    assert set(used.loc[used["part"] == "pretrained", "identity"]) == {f"s{person}" for person in range(1, 13)}
    counts = used.loc[used["part"] == "pretrained", "digest"].value_counts()
    assert counts.max() == 1  # the recogniser's own images are those of the run


@pytest.fixture
def generated_set(facelab: Command, generator: Path, tmp_path: Path) -> Path:
    """Three faces of each of the generator's people."""
    outcome = facelab(
        "generate", f"run={generator.name}", f"runs_folder={generator.parent}", "per_identity=3", "out=set"
    )
    assert outcome.status == 0, outcome.error
    return tmp_path / "set"


def test_who_trains_on_a_generated_set_has_seen_what_its_generator_saw(
    facelab: Command, place: Sequence[str], generator: Path, client: MlflowClient, generated_set: Path
) -> None:
    own = [override for override in TINY_CNN if override != "data.last_person=6"]
    run = train_run(place, *own, "data=folder", f"data.root={generated_set}", "data.channels=1", *HALVES)
    assert client.get_run(run.name).data.tags["data.generated_by"] == generator.name
    listed, behind = (read_image_list(path / "images.parquet").table.to_pandas() for path in (run, generator))
    assert set(listed.loc[listed["part"] == "pretrained", "digest"]) == set(
        behind.loc[behind["part"] != "test", "digest"]
    )
    tested = ("data=orl", "data.last_person=6", "data.image_size=32", "data.channels=1", "protocol=verification")
    folders = (f"run={run.name}", f"runs_folder={run.parent}", place[1])
    outcome = facelab("evaluate", *folders, *tested, "split=all", "trainer=cpu")
    assert outcome.status == 2
    assert "of the 60 images it is tested on" in outcome.error


def test_a_killed_generate_leaves_no_half_set_and_is_repeated(
    facelab: Command, generator: Path, tmp_path: Path
) -> None:
    place, partial = (f"run={generator.name}", f"runs_folder={generator.parent}", "out=set"), tmp_path / ".set.partial"
    code = "from facelab.cli import main; raise SystemExit(main())"
    line = [sys.executable, "-c", code, "generate", *place, "per_identity=10000"]
    process = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not list(partial.glob("s1/*.png")):
        assert process.poll() is None
        time.sleep(0.05)
    outcome = facelab("generate", *place, "n=3")
    assert outcome.status == 2
    assert f"out: another process is writing into {tmp_path / 'set'}. Wait for it" in outcome.error
    assert list(partial.glob("s1/*.png")), "the other one's faces are left alone"
    process.kill()
    process.wait()
    assert not (tmp_path / "set").exists()
    (tmp_path / "set").mkdir()  # empty, which is allowed
    outcome = facelab("generate", *place, "n=3")
    assert outcome.status == 0, outcome.error
    assert {path.name for path in (tmp_path / "set").iterdir()} == {
        *(f"{number:05d}.png" for number in range(3)),
        *("grid.png", "interpolations.png", "manifest.json"),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def _used(source: FaceSource, generator: Path) -> ImageList:
    faces, none = source.load(), EACH[:0]
    return images_used(load_yaml(generator / "config.yaml"), source, faces, Splits(np.arange(len(faces)), none, none))


def test_a_generated_set_is_known_by_its_manifest_wherever_it_lies(
    generator: Path, generated_set: Path, tmp_path: Path
) -> None:
    alone = Folder(root=str(generated_set), image_size=32, channels=1)
    seen = len(_used(alone, generator)) - 18
    assert seen > 18
    joined = Concat(sources={"a": alone, "b": ORL(image_size=32)}, image_size=32, channels=1)
    assert len(_used(joined, generator)) - len(joined.load()) == seen
    for part in ("train", "test"):
        shutil.copytree(generated_set, tmp_path / "parts" / part)
    assert len(_used(Folder(root=str(tmp_path / "parts"), image_size=32, channels=1), generator)) == 36 + 2 * seen

    path = generated_set / "manifest.json"
    written = json.loads(path.read_text())
    for changed in ({"run": "0" * 32}, {"weights_sha256": "0" * 64}, {"training_images_sha256": None}):
        path.write_text(json.dumps({**written, **changed}))
        used = _used(alone, generator)  # what it shows is not known
        assert (len(used), list(used.unlisted)) == (18, [changed.get("run", generator.name)])
    for broken, says in ((json.dumps({**written, "run": "../x"}), "32 hexadecimal digits"), ("{", "cannot be read")):
        path.write_text(broken)
        with pytest.raises(DataError, match=f"manifest.json.*{says}"):
            _used(alone, generator)
    path.write_text('{"name": "of a web page"}')
    assert len(_used(alone, generator)) == 18
