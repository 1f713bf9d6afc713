"""`facelab enroll`, `identify` and `gallery`: AT&T faces, and the astronaut of scikit-image in photos."""

import csv
import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import yaml
from PIL import Image

from facelab.commands import identify
from facelab.config.build import build
from facelab.config.compose import config_folder
from facelab.data.image_list import read_image_list
from facelab.data.sources.orl import ORL
from facelab.galleries import Gallery
from facelab.models.trained import ModelMetadata, load, save
from facelab.models.trained import embeddings as embeddings_of
from facelab.tracking import SqliteStore, TrackedRun
from tests.commands.conftest import TEN
from tests.conftest import Command, Outcome
from tests.models.recorded import recorded_run


def done(outcome: Outcome) -> Outcome:
    assert outcome.status == 0, outcome.error
    return outcome


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_enrolled_images_are_identified(facelab: Command, here: Path, enrolling: tuple[str, ...]) -> None:
    outcome = done(facelab(*enrolling))
    assert "Enrolled 4 people with 12 images" in outcome.out
    assert "of 40 searches of 4 people who are not enrolled (validation people of the run)" in outcome.out
    gallery = Gallery.open(here / "office")
    assert list(gallery.names) == ["s7", "s8", "s9", "s10"]
    assert gallery.origin.aligned
    assert gallery.threshold is not None

    outcome = done(facelab("identify", "gallery=office", "source=people/s8", "out=found"))
    found = rows(here / "found" / "identify.csv")
    assert [row["photo"] for row in found] == ["1.png", "2.png", "3.png"]
    for row in found:
        known = float(row["score_1"]) >= float(row["threshold"])
        assert row["decision"] == ("identified" if known else "nobody known")
        assert row["person"] == (row["nearest_1"] if known else "")
        assert float(row["score_1"]) >= float(row["score_2"]) >= float(row["score_3"])
        assert float(row["fpir"]) == pytest.approx(gallery.threshold.fpir)
    assert "s8" in {row["nearest_1"] for row in found}
    page = (here / "found" / "page.html").read_text(encoding="utf-8")
    assert page.count('class="face"') == 3
    assert page.count("data:image/jpeg") == 12
    assert "http" not in page


def test_the_embeddings_are_those_of_the_run(
    facelab: Command, here: Path, enrolling: tuple[str, ...], run: TrackedRun
) -> None:
    done(facelab(*enrolling))
    gallery, trained = Gallery.open(here / "office"), load(run.folder)
    source = ORL(image_size=16, channels=1, last_person=10).load()
    chosen = [i for i, name in enumerate(source.columns["identity"].texts) if name == "s9"][:3]
    vectors = embeddings_of(trained.module, np.stack([source.pixels[i] for i in chosen])).numpy()
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = directions.mean(axis=0) / np.linalg.norm(directions.mean(axis=0))
    np.testing.assert_allclose(gallery.embeddings[gallery.place_of("s9")].numpy(), expected, atol=1e-5)


def test_the_same_command_adds_people(facelab: Command, here: Path, enrolling: tuple[str, ...]) -> None:
    shutil.move(here / "people" / "s10", here / "later")
    done(facelab(*enrolling))
    shutil.move(here / "later", here / "people" / "s10")
    outcome = done(facelab(*enrolling[:-2]))
    assert "Enrolled 1 person with 3 images" in outcome.out
    assert "(3 people): s7, s8, s9" in outcome.out
    added = Gallery.open(here / "office")
    shutil.rmtree(here / "office")
    done(facelab(*enrolling))
    at_once = Gallery.open(here / "office")
    assert added.names == at_once.names
    np.testing.assert_allclose(added.embeddings.numpy(), at_once.embeddings.numpy(), atol=1e-6)
    assert added.threshold is not None
    assert at_once.threshold is not None
    assert added.threshold.score == pytest.approx(at_once.threshold.score)
    assert added.fpir == 0.8


def test_people_are_listed_removed_and_renamed(facelab: Command, here: Path, enrolling: tuple[str, ...]) -> None:
    done(facelab(*enrolling))
    outcome = done(facelab("gallery", "gallery=office", "remove=[s7,s8]"))
    assert "2 people in office" in outcome.out
    assert "s8" not in outcome.out
    assert b"s7" not in (here / "office" / "gallery.safetensors").read_bytes()
    done(facelab("gallery", "gallery=office", "rename=s9", "to='Ada, L.'"))
    assert "Ada, L." in done(facelab("gallery", "gallery=office")).out
    for arguments, says in (
        (("remove=s7",), "nobody named 's7' is enrolled. Enrolled are: Ada, L., s10"),
        (("rename=s10",), "Type rename=<name> to=<new name>"),
        (("rename=s10", "to=s7", "remove=s10"), "one of them at a time"),
    ):
        outcome = facelab("gallery", "gallery=office", *arguments)
        assert outcome.status == 2
        assert says in outcome.error
    done(facelab("gallery", "gallery=office", "remove=['Ada, L.',s10]"))
    outcome = facelab("identify", "gallery=office", "source=probes")
    assert outcome.status == 2
    assert "nobody is enrolled in office" in outcome.error


def test_other_weights_are_refused(
    facelab: Command, here: Path, enrolling: tuple[str, ...], runs_folder: Path, run: TrackedRun
) -> None:
    done(facelab(*enrolling))
    before = (here / "office" / "gallery.safetensors").read_bytes()
    (here / "runs").unlink()
    shutil.copytree(runs_folder, here / "runs")
    weights = here / "runs" / run.id / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for arguments in (enrolling, ("identify", "gallery=office", "source=probes")):
        outcome = facelab(*arguments)
        assert outcome.status == 2
        assert f"run {run.id} made it, and run {run.id} in runs/{run.id} differs: weights " in outcome.error
        assert "image size" not in outcome.error
    assert (here / "office" / "gallery.safetensors").read_bytes() == before
    assert not (here / "identified").exists()


@pytest.mark.slow
def test_a_run_of_another_machine_comes_from_its_store(
    facelab: Command, here: Path, enrolling: tuple[str, ...], store_folder: Path, run: TrackedRun
) -> None:
    (here / "runs").unlink()
    done(facelab(*enrolling, f"tracking.folder={store_folder}"))
    assert (here / "runs" / "downloaded" / run.id / "images.parquet").is_file()
    done(facelab("identify", "gallery=office", "source=probes"))


def test_one_image_on_standard_input(
    facelab: Command, here: Path, enrolling: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    done(facelab(*enrolling))
    image = (here / "people" / "s7" / "1.png").read_bytes()
    for content, status, says in (
        (image, 0, "standard input"),
        (b"", 1, "standard input is empty"),
        (b"no image", 1, "no face could be judged:\n  - standard input is not an image"),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        outcome = facelab("identify", "gallery=office", "source=-")
        assert outcome.status == status
        assert says in outcome.out + outcome.error


def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()).crop((90, 0, 346, 256))


def test_faces_are_found_in_photos(facelab: Command, here: Path, run: TrackedRun) -> None:
    (here / "crew" / "eileen").mkdir(parents=True)
    astronaut().save(here / "crew" / "eileen" / "1.png")
    outcome = done(facelab("enroll", f"run={run.id}", "source=crew", "gallery=crew.gallery", "fpir=0.8"))
    assert "give development=<folder of photos of other people>" in outcome.out

    (here / "photos").mkdir()
    two = Image.new("RGB", (512, 256))
    two.paste(astronaut().resize((200, 200)), (0, 0))
    two.paste(astronaut(), (256, 0))
    two.save(here / "photos" / "two.tiff")
    astronaut().resize((60, 60)).save(here / "photos" / "small.png")
    (here / "photos" / "broken.png").write_bytes((here / "crew" / "eileen" / "1.png").read_bytes()[:3000])
    outcome = done(facelab("identify", "gallery=crew.gallery", "source=photos"))
    assert "Not judged: small.png shows no face of at least 40 x 40 pixels" in outcome.out
    assert "Not judged: broken.png is damaged" in outcome.out
    found = rows(here / "identified" / "identify.csv")
    assert [(row["photo"], row["face"]) for row in found] == [
        ("two.tiff", "1"),
        ("two.tiff", "2"),
        ("broken.png", ""),
        ("small.png", ""),
    ]
    assert [row["person"] for row in found] == ["eileen", "eileen", "", ""]
    assert int(found[0]["left"]) > 256 > int(found[1]["right"])


@pytest.mark.slow
def test_a_photo_of_several_people_enrols_nobody(facelab: Command, here: Path, run: TrackedRun) -> None:
    (here / "crew" / "eileen").mkdir(parents=True)
    astronaut().save(here / "crew" / "eileen" / "1.png")
    two = Image.new("RGB", (512, 256))
    two.paste(astronaut(), (0, 0))
    two.paste(astronaut(), (256, 0))
    two.save(here / "crew" / "eileen" / "2.png")
    again = ("enroll", f"run={run.id}", "source=crew", "gallery=crew.gallery", "fpir=0.8")
    outcome = facelab(*again)
    assert outcome.status == 1
    assert "2.png shows 2 faces, and whose to use is unknown" in outcome.error
    assert not (here / "crew.gallery").exists()
    assert "Enrolled 1 person with 1 image" in done(facelab(*again, "unusable=skip")).out


def test_the_people_of_a_folder_set_the_threshold(facelab: Command, here: Path, run: TrackedRun) -> None:
    rows_of_all = ORL(last_person=10).rows()
    for i, name in enumerate(rows_of_all.names):
        person = rows_of_all.columns["identity"][i]
        if person in ("s1", "s3", "s4", "s5", "s7"):
            place = here / "others" / {"s3": "copy of s8", "s4": "d"}.get(person, person) / f"{Path(name).stem}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            rows_of_all.images.image(i).save(place)
    shutil.copy(here / "people" / "s8" / "1.png", here / "others" / "copy of s8" / "11.png")
    arguments = ("enroll", f"run={run.id}", "source=people", "gallery=office", "aligned=true", "development=others")
    outcome = facelab(*arguments, "fpir=0.8")
    assert outcome.status == 2
    assert "20 searches of people who are not enrolled (people of others) do not support it" in outcome.error
    assert not (here / "office").exists()
    for number in range(4, 21):
        shutil.copytree(here / "others" / "d", here / "others" / f"d{number}")
    outcome = done(facelab(*arguments, "fpir=0.8"))
    assert (
        "1 development people are left out, since the run was trained on people of these names or on their images: s1."
        in (outcome.out)
    )
    assert "2 development people are left out, since they are enrolled: copy of s8, s7." in outcome.out
    gallery = Gallery.open(here / "office")
    threshold = gallery.threshold
    assert threshold is not None
    assert (threshold.people, threshold.searches) == (19, 190)
    shutil.copytree(here / "people" / "s7", here / "people" / "late")
    assert "Enrolled 1 person with 3 images" in done(facelab(*arguments)).out
    assert Gallery.open(here / "office").development.names == gallery.development.names
    outcome = facelab(*arguments, "development=probes")
    assert "the threshold of office is set by other people (people of others)" in outcome.error
    assert "enrolled with aligned=true" in facelab(*arguments, "aligned=false").error


def test_names_of_a_joined_set_are_compared_without_their_source(
    facelab: Command, here: Path, store_folder: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    for i in range(4):
        (tmp_path / "noise" / f"n{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16), dtype=np.uint8)).save(
            tmp_path / "noise" / f"n{i % 2}" / f"{i}.png"
        )
    split = {"_target_": "facelab.data.IdentityDisjoint", "train_people": 2, "val_people": 6}
    noise = {"_target_": "facelab.data.Folder", "root": str(tmp_path / "noise")}
    data = {
        "_target_": "facelab.data.Concat",
        "image_size": 16,
        "channels": 1,
        "sources": {"orl": TEN, "zoo": noise},
        "shared_identities": False,
    }
    (here / "runs").unlink()
    run = recorded_run(SqliteStore(str(store_folder), "galleries"), here / "runs", data=data, split=split)
    listed = read_image_list(run.folder / "images.parquet").table.to_pylist()
    known, validates = (
        next(one["identity"] for one in listed if one["part"] == part and one["identity"].startswith("orl/"))
        for part in ("train", "val")
    )
    known, validates = known.removeprefix("orl/"), validates.removeprefix("orl/")
    shutil.move(here / "people" / "s10", here / "one" / validates)
    arguments = ("enroll", f"run={run.id}", "source=one", "aligned=true")
    outcome = done(facelab(*arguments, "gallery=office", "fpir=0.9"))
    assert f"1 development people are left out, since they are enrolled: {validates}." in outcome.out
    assert not any("/" in name for name in Gallery.open(here / "office").development.names)

    shutil.move(here / "people" / "s7", here / "others" / known)
    for number in range(20):
        shutil.copytree(here / "people" / "s8", here / "others" / f"d{number}")
    outcome = done(facelab(*arguments, "gallery=other", "fpir=0.9", "development=others"))
    assert f"of these names or on their images: {known}." in outcome.out


def test_an_index_of_few_people_is_no_index(
    facelab: Command, here: Path, enrolling: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    done(facelab(*enrolling))
    identifying = ("identify", "gallery=office", "source=probes")
    done(facelab(*identifying, "out=exact"))
    outcome = done(facelab(*identifying, "out=few", "index=faiss"))
    assert "Note: index=faiss: 4 people are searched exactly; an index is made of 100,000 or more." in outcome.error
    assert rows(here / "few" / "identify.csv") == rows(here / "exact" / "identify.csv")
    monkeypatch.setattr(identify, "LEAST_PEOPLE", 4)
    outcome = done(facelab(*identifying, "out=found", "index=faiss"))
    says = "All faces were searched exactly: an index is made after 1,000 faces."
    assert says in outcome.out
    assert says in (here / "found" / "page.html").read_text(encoding="utf-8")
    assert {path.name for path in (here / "office").iterdir()} == {"gallery.safetensors", ".lock"}
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    assert "pip install 'facelab[faiss]'" in facelab(*identifying, "index=faiss").error
    assert "index: expected 'exact' or 'faiss'" in facelab(*identifying, "index=hnsw").error


REFUSED = [
    (("fpir=0.01",), "the lowest they support is fpir=0.75"),
    (("source=nothing",), "nothing is not a folder"),
    (("source=probes",), "holds images beside folders"),
    (("source=bare",), "1 folders of people hold no images: nobody"),
    (("gallery=probes",), "exists and is no gallery"),
    (("source=bad",), "1 image cannot be used, so nobody was enrolled"),
    (("gallery=people/office",), "gallery=people/office: it lies in source=people, where each folder is a person's"),
    (("development=probes", "gallery=./probes"), "it lies in development=probes"),
    (("gallery=" + 300 * "g",), "cannot be used (File name too long)"),
    (("source=" + 300 * "s",), "cannot be looked up (File name too long)"),
    (("runs_folder=" + 300 * "r",), "cannot be looked up (File name too long)"),
    (("source=/dev/zero",), "/dev/zero is not a folder. Expected a folder with a folder for each person"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_refused_writes_nothing(
    facelab: Command, here: Path, enrolling: tuple[str, ...], arguments: tuple[str, ...], says: str
) -> None:
    (here / "bare" / "nobody").mkdir(parents=True)
    shutil.copytree(here / "people" / "s7", here / "bad" / "s7")
    (here / "bad" / "s7" / "4.png").write_bytes(b"no image")
    before = sorted(here.iterdir())
    outcome = facelab(*enrolling, *arguments)
    assert outcome.status in (1, 2)
    assert says in outcome.error
    assert sorted(here.iterdir()) == before


def test_a_generator_is_no_recogniser(facelab: Command, here: Path, enrolling: tuple[str, ...], tmp_path: Path) -> None:
    config = yaml.safe_load((config_folder() / "model" / "base" / "gan.yaml").read_text(encoding="utf-8"))
    config["generator"]["widths"], config["discriminator"]["widths"] = [16, 8], [8, 16]
    folder = tmp_path / "generators" / ("0" * 32)
    folder.mkdir(parents=True)
    module = build({"model": config})["model"](image_shape=(1, 16, 16), num_classes=2)
    save(module, ModelMetadata((1, 16, 16), 2, ("s1", "s2")), folder)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": config}), encoding="utf-8")
    outcome = facelab(*enrolling, f"run={folder.name}", "runs_folder=generators")
    assert outcome.status == 2
    assert "GAN, generates faces and does not recognise them" in outcome.error
    assert not (here / "office").exists()
