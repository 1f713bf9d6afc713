"""`facelab check` on real faces and on a folder of bad files."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from facelab.checking import figures
from tests.conftest import Command
from tests.data.bad_files import UNUSABLE, USABLE, make_bad_folder
from tests.data.made import make_folder

HOSTILE = "<script>alert(1)<", "[bold red]x $x^{$ &amp;", "\x1b[31m\n\u202e", "\udcff", "李 é"
FIVE_MEGABYTES = 5_000_000


class _Page(HTMLParser):
    """Gathers the words and tags of a page, and what it refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.words, self.references, self.tags = "", list[str](), set[str]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def of_checks(store_folder: Path, experiment: tuple[str, str]) -> Callable[[], list[Run]]:
    """The checks this test has recorded."""

    def find() -> list[Run]:
        client = MlflowClient(f"sqlite:///{store_folder / 'mlflow.db'}")
        name = experiment[1].partition("=")[2].strip("'")
        found = client.get_experiment_by_name(f"{name} checks")
        return list(client.search_runs([found.experiment_id])) if found else []

    return find


def test_a_clean_set(
    facelab: Command, tmp_path: Path, experiment: tuple[str, str], of_checks: Callable[[], list[Run]]
) -> None:
    outcome = facelab("check", "data.last_person=6", "split=few_shot", "split.train_per_identity=3", *experiment)
    assert outcome.status == 0, outcome.error
    assert "60 usable images, 6 classes of 10 images" in outcome.out
    assert "nothing to report" in outcome.out
    assert re.search(r"split=few_shot split.train_per_identity=3 +18 \(6\) +0 \(0\) +42 \(6\)", outcome.out)
    assert re.search(r"split=kfold +36 \(6\) +12 \(6\) +12 \(6\)", outcome.out)
    assert "split=official: " in outcome.out
    place = tmp_path / "facelab-check.html"
    page = _Page(place)
    assert "s6: 10 images" in page.words
    assert "All images have 92 x 112 pixels" in page.words
    assert all(reference.startswith("data:image/") for reference in page.references), "self-contained"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["facelab-check.html"], "no draft stays"
    (run,) = of_checks()
    assert run.info.status == "FINISHED"
    assert (run.data.metrics["images"], run.data.metrics["errors"]) == (60, 0)
    assert run.data.params["split.train_per_identity"] == "3"
    client = MlflowClient(experiment[0].replace("tracking.folder=", "sqlite:///") + "/mlflow.db")
    (artifact,) = client.list_artifacts(run.info.run_id)
    kept = Path(client.download_artifacts(run.info.run_id, artifact.path, str(tmp_path / "kept")))
    assert kept.read_bytes() == place.read_bytes()
    assert run.info.run_id not in facelab("runs", experiment[0], "limit=1000").out, "a check is no training"


def test_every_bad_file_is_named(facelab: Command, tmp_path: Path, experiment: tuple[str, str]) -> None:
    make_bad_folder(tmp_path / "faces")
    copy = tmp_path / "faces" / "person1" / "copy.png"
    copy.write_bytes((tmp_path / "faces" / "person0" / "0.png").read_bytes())
    arguments = ("check", "data=folder", "data.root=faces", "data.image_size=32", "out=report", *experiment)
    outcome = facelab(*arguments)
    assert outcome.status == 1
    assert (
        f"Error: training on faces would fail: Unusable files or folders: {len(UNUSABLE)}. Training stops at them."
        in outcome.error
    )
    words = _Page(tmp_path / "report" / "facelab-check.html").words
    for name, says in {**UNUSABLE, **USABLE}.items():
        assert name in words
        assert says in words
    for name, says in UNUSABLE.items():
        (line,) = [line for line in outcome.out.splitlines() if name in line]
        assert says in line
    assert "person0/0.png = person1/copy.png" in words
    assert "Identical to an image with another label: 1 image" in outcome.out


@pytest.mark.slow
def test_it_fails_where_training_would(facelab: Command, tmp_path: Path, experiment: tuple[str, str]) -> None:
    root = make_folder(tmp_path / "faces", pictures=6)
    arguments = ("check", "data=folder", "data.root=faces", *experiment)
    assert facelab(*arguments).status == 0
    (root / "person1" / "copy.png").write_bytes((root / "person0" / "0.png").read_bytes())
    assert "Identical to an image with another label: 1 image" in facelab(*arguments).error
    dropped = facelab(*arguments, "split.duplicates=drop")
    assert dropped.status == 0, dropped.error
    assert re.search(r"warning +Identical to an image with another label: 1 image", dropped.out)
    assert re.search(r"split=kfold split.duplicates=drop +\d", dropped.out), "typed values apply to other splits too"
    few = facelab(*arguments, "split=few_shot", "split.train_per_identity=6", "split.duplicates=drop")
    assert few.status == 1
    assert "3 of 3 classes have too few images" in few.error
    for person in ("person1", "person2"):
        for path in (root / person).iterdir():
            path.unlink()
        (root / person).rmdir()
    assert "holds one class only" in facelab(*arguments).error


def test_names_are_text_only(facelab: Command, tmp_path: Path, experiment: tuple[str, str]) -> None:
    root = make_folder(tmp_path / "faces", people=5)
    for person, name in enumerate(HOSTILE):
        folder = (root / f"person{person}").rename(root / name)
        (folder / "0.png").rename(folder / f"{name}.png")
        (folder / f"{name}.jpg").touch()
    outcome = facelab("check", "data=folder", "data.root=faces", *experiment)
    assert outcome.status == 1
    page = _Page(tmp_path / "facelab-check.html")
    assert "script" not in page.tags
    assert "<script>alert(1)<: 5 images" in page.words
    assert "[bold red]x $x^{$ &amp;: 5 images" in page.words
    assert "李 é: 5 images" in page.words
    for text in (outcome.out, outcome.error, page.words):
        assert not set("\x1b\u202e\udcff") & set(text)
    assert "[bold red]x" in outcome.out


def test_the_page_is_bounded(facelab: Command, tmp_path: Path, experiment: tuple[str, str]) -> None:
    random = np.random.default_rng(0)
    for person in range(150):
        (tmp_path / "faces" / f"p{person}").mkdir(parents=True)
        for picture in range(2 if person else 30):
            pixels = random.integers(0, 256, (80, 60 + person % 7), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / f"p{person}" / f"{picture}.png")
    outcome = facelab(
        "check", "data=folder", "data.root=faces", "split=few_shot", "split.train_per_identity=1", *experiment
    )
    assert outcome.status == 0, outcome.error
    assert "150 classes of 2 to 30 images, median 2" in outcome.out
    place = tmp_path / "facelab-check.html"
    words = _Page(place).words
    assert "60 of 150 classes, from the largest to the smallest" in words
    assert "p0: 30 images" in words
    assert "60 to 66 pixels wide (median 63), 80 to 80 high (median 80). Modes: L (328)." in words
    assert place.stat().st_size < FIVE_MEGABYTES


def test_an_interrupted_check_keeps_the_page_from_before(
    facelab: Command, tmp_path: Path, experiment: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "page.html"
    place.write_text("from before", encoding="utf-8")

    monkeypatch.setenv("FACELAB_ALLOW", "tests")
    target = "data._target_=tests.data.bad_files.InterruptedFolder"
    assert facelab("check", "data=folder", "data.root=faces", target, "out=page.html", *experiment).status == 130
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert place.read_text(encoding="utf-8") == "from before"


def test_a_page_that_cannot_be_written_is_refused_before_reading(facelab: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = facelab("check", "data=folder", "data.root=missing", "out=file/page.html")
    assert outcome.status == 2
    assert "out: " in outcome.error
    assert "cannot be written" in outcome.error


def test_an_unreachable_store_leaves_the_page(facelab: Command, tmp_path: Path) -> None:
    outcome = facelab("check", "data.last_person=2", "tracking=server", "tracking.uri=http://127.0.0.1:9")
    assert outcome.status == 0, outcome.error
    assert "could not be kept in MLflow" in outcome.out
    assert (tmp_path / "facelab-check.html").is_file()


def test_the_page_has_no_password_of_the_command(facelab: Command, tmp_path: Path) -> None:
    named = "tracking.experiment='https://me:secret@host'"
    facelab("check", "data.last_person=2", named, "tracking=server", "tracking.uri=http://127.0.0.1:9")
    text = (tmp_path / "facelab-check.html").read_text(encoding="utf-8")
    assert "https://host" in text
    assert "secret" not in text


def test_charts_of_extreme_values_are_drawn() -> None:
    for values in ([0.0], [0.0, 0.0], [0.0, 1e6]):
        assert "<svg" in figures.histogram(np.array(values, np.float32), "sharpness", logarithmic=True)
    assert "<svg" in figures.class_sizes(np.array([1, 50_000]))
    width = np.array([1, 30_000], dtype=np.uint32)
    assert "<svg" in figures.image_sizes(width, width[::-1], 64)
