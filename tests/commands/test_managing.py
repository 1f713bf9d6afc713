"""`facelab gallery` on galleries without a model; what `enroll`, `identify` and `demo` make of a model that changed."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

from facelab.galleries import Gallery
from facelab.tracking import TrackedRun
from tests.conftest import Command, free_port
from tests.galleries.made import gallery

FILE = "gallery.safetensors"


def test_a_development_person_is_removed_from_the_file(facelab: Command, tmp_path: Path) -> None:
    made = gallery()
    made.write(tmp_path / "office")
    embedding = made.development.embeddings[31].numpy().tobytes()
    before = (tmp_path / "office" / FILE).read_bytes()
    assert all(trace in before for trace in (b"other 31", embedding, bytes([31]) * 32))
    outcome = facelab("gallery", "gallery=office", "remove=[other 31,person 2]")
    assert outcome.status == 0, outcome.error
    assert "Removed: enrolled people 1, development people 1." in outcome.out
    assert "39 searches of 39 people" in " ".join(outcome.out.split())
    after = b"".join(path.read_bytes() for path in (tmp_path / "office").iterdir())
    assert not any(trace in after for trace in (b"other 31", embedding, bytes([31]) * 32, b"person 2"))
    read = Gallery.open(tmp_path / "office")
    assert read.threshold is not None
    assert (read.threshold.searches, read.threshold.enrolled, len(read.development.names)) == (39, 4, 39)


def test_development_people_who_are_needed_stay(facelab: Command, tmp_path: Path) -> None:
    gallery().write(tmp_path / "office")  # at an FPIR of 0.8, which 38 searches support
    before = (tmp_path / "office" / FILE).read_bytes()
    outcome = facelab("gallery", "gallery=office", "remove=[other 1,other 2,other 3]")
    assert outcome.status == 2
    assert "too few development people would be left, so nobody was removed" in outcome.error
    assert "fpir=0.8: 37 searches" in outcome.error
    assert "lowest they support is fpir=0.8109" in outcome.error
    assert (tmp_path / "office" / FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["remove=null"], "remove=null: null names nobody. As text: 'remove=\"null\"'"),
        (["rename=NULL", "to=null"], "rename=NULL: null names nobody"),
        (["remove=[]"], "remove=[]: the list is empty"),
        (["remove=[other 1,x]"], "nobody named 'x' is enrolled"),
        (["remove=caf\udce9"], "remove=caf\\xe9: expected text in UTF-8"),
        (["remove='caf\udce9'"], "remove='caf\\xe9': expected text in UTF-8"),
        (["gallery=" + 300 * "g"], "cannot be looked up (File name too long)"),
    ],
)
def test_what_names_nobody_is_refused(facelab: Command, tmp_path: Path, arguments: list[str], says: str) -> None:
    gallery().write(tmp_path / "office")
    before = (tmp_path / "office" / FILE).read_bytes()
    outcome = facelab("gallery", "gallery=office", *arguments)
    assert outcome.status == 2
    assert says in outcome.error
    assert "Traceback" not in outcome.error
    assert "JSON" not in outcome.error
    assert (tmp_path / "office" / FILE).read_bytes() == before


def test_a_person_named_null_is_removed(facelab: Command, tmp_path: Path) -> None:
    gallery().write(tmp_path / "office")
    assert facelab("gallery", "gallery=office", "rename=person 1", 'to="null"').status == 0
    assert facelab("gallery", "gallery=office", 'remove="null"').status == 0
    assert list(Gallery.open(tmp_path / "office").names) == ["person 0", "person 2", "person 3", "person 4"]


def test_a_model_that_embeds_otherwise_is_refused(
    facelab: Command, here: Path, enrolling: tuple[str, ...], runs_folder: Path, run: TrackedRun
) -> None:
    assert facelab(*enrolling).status == 0
    before = (here / "office" / FILE).read_bytes()
    (here / "runs").unlink()
    shutil.copytree(runs_folder, here / "runs")
    path = here / "runs" / run.id / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    target = "facelab.nets.AffineTestTimeAugmentation"
    config["model"]["test_time_augmentation"] = {"_target_": target}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    for arguments in (
        enrolling,
        ("identify", "gallery=office", "source=probes"),
        ("demo", f"run={run.id}", "gallery=office", f"port={free_port()}"),
    ):
        outcome = facelab(*arguments)
        assert outcome.status == 2
        assert "differs: variants of a face (test-time augmentation) 1 then, " in outcome.error
        assert f"Restore runs/{run.id}, or enrol the people in another gallery." in outcome.error
    assert (here / "office" / FILE).read_bytes() == before


def test_an_existing_gallery_gets_no_advice_that_it_refuses(
    facelab: Command, here: Path, enrolling: tuple[str, ...]
) -> None:
    assert facelab(*enrolling).status == 0
    outcome = facelab(*enrolling, "fpir=0.05")
    assert "give a new gallery at least 600 images of people who are neither" in outcome.error
    assert "gallery=<new folder> development=<folder of people>" in outcome.error


def test_what_is_no_photo_is_named_before_the_model_is_loaded(facelab: Command, tmp_path: Path) -> None:
    gallery().write(tmp_path / "office")
    os.mkfifo(tmp_path / "pipe")
    for source, says in (("/dev/zero", "is a device. Ex"), ("pipe", "is a FIFO. Expected"), ("s" * 300, "too long")):
        outcome = facelab("identify", "gallery=office", f"source={source}")
        assert outcome.status == 2
        assert says in outcome.error


def test_an_empty_folder_is_kept_and_the_reason_named(
    facelab: Command, here: Path, enrolling: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "empty").mkdir()
    monkeypatch.chdir(here / "empty")
    outcome = facelab(*enrolling, "source=../people", "runs_folder=../runs", "gallery=.", "fpir=0.01")
    assert "fpir=0.01: 40 searches" in outcome.error
    assert list((here / "empty").iterdir()) == []
