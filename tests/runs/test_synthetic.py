"""Whole runs with synthetic faces in training, and the runs that generate these."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from mlflow import MlflowClient
from PIL import Image
from safetensors.torch import load_file

from facelab import cli
from facelab.config.load import load_yaml
from facelab.data import ORL, Concat, Folder
from facelab.data.faces import FaceSet
from facelab.data.image_list import ImageList, read_image_list
from facelab.data.source import FaceSource
from facelab.data.splits.base import Splits
from facelab.errors import DataError
from facelab.models.trained import load, probabilities
from facelab.runs.origins import images_used
from facelab.synthetic import GeneratedFaces
from facelab.tracking import TrackedRun
from tests.conftest import TINY, TINY_CNN, Command

# A conditional GAN that trains in a moment, as needed runs are described; its faces are noise of a kind.
GAN = (
    "trainer=cpu",
    "trainer.validations=2",
    "model.latent_dim=4",
    "model.generator.widths=[16,8]",
    "model.discriminator.widths=[8,16]",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=160",
)
INTERRUPTED = "protocol.classification._target_=tests.runs.stopping.InterruptedOnce"
EACH = np.arange(6)
HALVES = ("split.train=0.5", "split.val=0", "split.test=0.5", "split.duplicates=drop")


def _generator(*overrides: str) -> str:
    return f"synthetic.generator={['model=gan_conditional', 'protocol=classification', *GAN, *overrides]}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, store_folder: Path) -> Sequence[str]:
    """One runs folder and experiment for this file."""
    folder = tmp_path_factory.mktemp("synthetic")
    (folder / "runs").mkdir()
    store = (f"tracking.folder={store_folder}", "tracking.experiment=synthetic")
    return f"runtime.runs_folder={folder / 'runs'}", *store


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELAB_ALLOW", "tests")


def _runs_folder(place: Sequence[str]) -> Path:
    return Path(place[0].partition("=")[2])


def _train(place: Sequence[str], *overrides: str) -> Path:
    """The folder of a run, trained in this process."""
    before = set(_runs_folder(place).glob("*/metrics.json"))
    GlobalHydra.instance().clear()
    assert cli.main(["train", *overrides, *place]) == 0
    return max(set(_runs_folder(place).glob("*/metrics.json")) - before, key=lambda path: path.stat().st_mtime).parent


@pytest.fixture(scope="module")
def generator(place: Sequence[str]) -> Path:
    """The run of a conditional GAN on six people."""
    return _train(place, "model=gan_conditional", "protocol=classification", *TINY, *GAN)


@pytest.fixture(scope="module")
def plain(place: Sequence[str]) -> Path:
    """The run of a CNN on real faces alone."""
    return _train(place, *TINY_CNN)


def _tested(run: Path) -> list[tuple[str, str]]:
    with (run / "predictions.csv").open(encoding="utf-8") as file:
        return [(row["picture"], row["label"]) for row in csv.DictReader(file)]


def test_generated_faces_join_the_training_images_and_nothing_else(
    place: Sequence[str], generator: Path, plain: Path, client: MlflowClient
) -> None:
    given = (f"synthetic.run={generator.name}", "synthetic.per_identity=3")
    run = _train(place, *TINY_CNN, "synthetic=gan_conditional", *given)
    tags = client.get_run(run.name).data.tags
    assert (tags["synthetic.images"], tags["synthetic.new_classes"]) == ("18", "0")
    assert tags["needs.generator"] == generator.name
    assert client.get_run(generator.name).data.tags[f"needed_by.{run.name}"] == "generator"
    assert tags["needs.generator.config_hash"] == client.get_run(generator.name).data.tags["config.hash"]
    assert f"trained on 18 generated faces, by run [{generator.name}]" in tags["mlflow.note.content"]
    assert any("synthetic_faces" in item.path for item in client.list_artifacts(run.name, "images"))

    assert _tested(run) == _tested(plain)
    without = client.get_run(plain.name).data
    assert tags["data.fingerprint"] == without.tags["data.fingerprint"]
    metrics = client.get_run(run.name).data.metrics
    for name in ("test/images", "fit/images_seen"):  # as many steps, too
        assert metrics[name] == without.metrics[name]
    listed, real = (read_image_list(path / "images.parquet").table.to_pandas() for path in (run, plain))
    own = listed[listed["part"] != "pretrained"]
    for column in ("name", "part", "digest"):
        assert own[column].tolist() == real[column].tolist()
    assert set(listed["digest"]) == set(real["digest"])  # the generator saw the same images
    first, second = (load_file(path / "model.safetensors") for path in (run, plain))
    assert any(not torch.equal(first[name], second[name]) for name in first)


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
    before = set(_runs_folder(place).iterdir())
    given = ("synthetic=gan_conditional", f"synthetic.run={generator.name}")
    overrides = [override.format(folder=generator) for override in overrides]
    outcome = facelab("train", *TINY_CNN, *place, *given, *overrides)
    assert outcome.status == 2
    assert says in outcome.error
    assert "Traceback" not in outcome.error
    assert set(_runs_folder(place).iterdir()) == before


def _recogniser(init_from: str) -> tuple[str, ...]:
    its = [*TINY_CNN[2:], "protocol=classification", f"model.init_from={init_from}"]
    return "synthetic.selection=recogniser", f"synthetic.recogniser={its}"


@pytest.mark.parametrize(
    ("role", "way_out"), [("recogniser", "It would select faces like them"), ("generator", "Its faces would show them")]
)
def test_a_run_that_is_yet_to_be_trained_from_one_that_saw_the_test_is_refused_before(
    facelab: Command, place: Sequence[str], generator: Path, plain: Path, role: str, way_out: str
) -> None:
    before = set(_runs_folder(place).iterdir())
    nested = _generator("synthetic=gan_conditional", f"synthetic.run={generator.name}")
    needed = _recogniser(plain.name) if role == "recogniser" else (nested,)
    outcome = facelab("train", *TINY_CNN, *place, "split.seed=3", "synthetic=gan_conditional", *needed)
    assert outcome.status == 2
    assert f"synthetic.{role}: it has seen 9 of the test images of this run: s1/4.pgm" in outcome.error
    assert f"{way_out}" in outcome.error
    assert f"Leave out of synthetic.{role} what names another run" in outcome.error
    assert set(_runs_folder(place).iterdir()) == before


def test_what_the_recogniser_started_from_is_seen_by_the_run(place: Sequence[str], generator: Path) -> None:
    others = ("data.first_person=7", "data.last_person=12")
    first = _train(place, *TINY_CNN[1:], *others, "model.recipe.max_images=32")
    given = ("synthetic=gan_conditional", f"synthetic.run={generator.name}", "synthetic.per_identity=1")
    run = _train(place, *TINY_CNN, *given, *_recogniser(first.name))
    used = read_image_list(run / "images.parquet").table.to_pandas()
    assert set(used.loc[used["part"] == "pretrained", "identity"]) == {f"s{person}" for person in range(1, 13)}
    counts = used.loc[used["part"] == "pretrained", "digest"].value_counts()
    assert counts.max() == 1  # the recogniser's own images are those of the run


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["synthetic=gan_conditional", "synthetic.generator=['model=gan']"], "GAN is not conditioned on a label"),
        (["synthetic=mixed_identities", "synthetic.generator=['model=cnn']"], "CNN generates no faces"),
        (["synthetic=autoencoder", "synthetic.selection=discriminator"], "Autoencoder has no discriminator"),
        (["synthetic=duplicates", "model.recipe.sampling=balanced"], "Set synthetic.share=null"),
        (["synthetic=duplicates", "synthetic.ratio=2"], "and both are given"),
        (["synthetic=duplicates", "synthetic.per_identity=1000000000000"], "less than or equal to 100000"),
        (["synthetic=duplicates", "synthetic.per_identity=null", "synthetic.ratio=inf"], "synthetic.ratio"),
        (["synthetic=duplicates", "synthetic.per_identity=null", "synthetic.ratio=1e30"], "less than or equal to"),
        (["synthetic=duplicates", "synthetic.per_identity=100000", "data.image_size=1024"], "synthetic faces need"),
        (["synthetic.per_identity=3"], "It is a key of synthetic=autoencoder"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_trained(
    facelab: Command, tmp_path: Path, overrides: list[str], says: str
) -> None:
    outcome = facelab("train", *TINY_CNN, *overrides)
    assert outcome.status == 2
    assert says in outcome.error
    assert "Traceback" not in outcome.error
    assert not list(tmp_path.iterdir())


def test_an_interrupted_generator_is_resumed_and_new_classes_are_not_tested(
    facelab: Command, place: Sequence[str], client: MlflowClient, tmp_path: Path
) -> None:
    mixed = ("synthetic=mixed_identities", "synthetic.per_identity=2", _generator(INTERRUPTED))
    (tmp_path / "interrupt").touch()
    before = set(_runs_folder(place).iterdir())
    outcome = facelab("train", *TINY_CNN, *place, *mixed)
    assert outcome.status == 130, outcome.error
    stopped = [path for path in set(_runs_folder(place).iterdir()) - before if path.is_dir()]
    assert {client.get_run(path.name).info.status for path in stopped} == {"KILLED"}
    needed, run = sorted(stopped, key=lambda path: "models.CNN" in (path / "config.yaml").read_text())

    outcome = facelab("train", f"resume={run.name}", place[0])
    assert outcome.status == 0, outcome.error
    assert f"Resuming it (run {needed.name}) first" in outcome.out
    assert "after 160 of 160 images" in outcome.out
    assert client.get_run(run.name).data.tags["needs.generator"] == needed.name
    assert client.get_run(needed.name).info.status == "FINISHED"
    assert client.get_run(needed.name).data.params["trainer.threads"] == "1"  # the run's, since it says nothing of them

    trained = load(run)
    assert (trained.metadata.num_classes, trained.metadata.synthetic_classes) == (6, 6)
    assert trained.metadata.label_names == ("s1", "s2", "s3", "s4", "s5", "s6")
    shares = probabilities(trained.module, np.zeros((2, 32, 32, 1), np.uint8))
    assert shares.shape == (2, 6)
    assert torch.allclose(shares.sum(dim=1), torch.ones(2))


def test_a_resumed_run_has_the_same_synthetic_faces_or_is_refused(
    facelab: Command, place: Sequence[str], tmp_path: Path
) -> None:
    (tmp_path / "interrupt").touch()
    before = set(_runs_folder(place).iterdir())
    copies = ("synthetic=duplicates", "synthetic.per_identity=null", "synthetic.ratio=0.5")
    assert facelab("train", *TINY_CNN, *place, *copies, INTERRUPTED).status == 130
    (run,) = (path for path in set(_runs_folder(place).iterdir()) - before if path.is_dir())
    kept = run / "checkpoints" / "synthetic.safetensors"
    assert load_file(kept)["images"].shape == (18, 32, 32, 1)
    kept.write_bytes(b"damaged")
    spool, digest = run / "spool.jsonl", str(TrackedRun.open(run).recorded_tag("synthetic.sha256"))
    lines = spool.read_text()
    spool.write_text(lines.replace(digest, "0" * 64))
    outcome = facelab("train", f"resume={run.name}", place[0])
    assert "the synthetic faces that it was trained on are gone, and those made now differ" in outcome.error

    for checkpoint in kept.parent.glob("images=*"):
        checkpoint.unlink()  # nothing has been trained on the faces that are gone
    outcome = facelab("train", f"resume={run.name}", place[0])
    assert outcome.status == 0, outcome.error
    assert TrackedRun.open(run).recorded_tag("synthetic.sha256") == digest
    assert "Making 18 synthetic faces" in outcome.out
    assert not kept.exists()  # nor anything else of the checkpoints


def test_generate_writes_a_labelled_set_that_data_folder_reads(
    facelab: Command, generator: Path, orl: FaceSet, tmp_path: Path
) -> None:
    place = (f"run={generator.name}", f"runs_folder={generator.parent}")
    outcome = facelab("generate", *place, "per_identity=3", "seed=5", "out=faces")
    assert outcome.status == 0, outcome.error
    found = Folder(root=str(tmp_path / "faces"), image_size=32, channels=1).load()
    assert list(found.label_names) == ["s1", "s2", "s3", "s4", "s5", "s6"]
    manifest = json.loads((tmp_path / "faces" / "manifest.json").read_text())
    recorded = TrackedRun.open(generator).recorded_tag
    assert manifest["weights_sha256"] == recorded("model.sha256")
    assert len(manifest["training_images_sha256"]) == 64
    assert (manifest["run"], manifest["seed"], manifest["psi"]) == (generator.name, 5, 1.0)
    assert len(manifest["images"]) == 18

    source = GeneratedFaces(generator=[], per_identity=3, seed=5)
    made = _faces(source, orl, {"generator": generator})
    written = [np.asarray(Image.open(tmp_path / "faces" / image["file"])) for image in manifest["images"]]
    assert (np.stack(written)[..., None] == made).all()  # those that a training gets
    assert facelab("generate", *place, "per_identity=2", "label=2", "out=third").status == 0
    assert [path.name for path in (tmp_path / "third").iterdir() if path.is_dir()] == ["s3"]


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
    run = _train(place, *own, "data=folder", f"data.root={generated_set}", "data.channels=1", *HALVES)
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


def _faces(source: GeneratedFaces, orl: FaceSet, runs: dict[str, Path]) -> np.ndarray:
    real = orl.only(np.concatenate([10 * EACH, 10 * EACH + 1]))
    plan = source.plan(real.labels, real.label_names)
    return source.make(plan, real, {role: load(folder) for role, folder in runs.items()})


def test_generated_faces_depend_on_seed_person_and_number_alone(generator: Path, orl: FaceSet) -> None:
    few, many = (
        _faces(GeneratedFaces(generator=[], per_identity=count, seed=2), orl, {"generator": generator})
        for count in (3, 60)  # less and more than a batch
    )
    assert (np.abs(many.reshape(6, 60, 32, 32)[:, :3].astype(int) - few.reshape(6, 3, 32, 32)) <= 1).all()
    centre = _faces(GeneratedFaces(generator=[], per_identity=2, truncation=0.0), orl, {"generator": generator})
    assert (centre[0] == centre[1]).all()  # without a latent, only the person is left
    assert (centre[0] != centre[2]).any()


@pytest.mark.parametrize("selection", ["discriminator", "recogniser"])
def test_a_selection_keeps_the_best_of_four_times_as_many(
    generator: Path, plain: Path, orl: FaceSet, selection: str
) -> None:
    runs = {"generator": generator, "recogniser": plain}
    kept = _faces(GeneratedFaces(generator=[], per_identity=3, selection=selection), orl, runs)  # type: ignore[arg-type]
    all_of_them = _faces(GeneratedFaces(generator=[], per_identity=12), orl, runs)
    labels = np.repeat(EACH, 12)
    if selection == "recogniser":
        scores = probabilities(load(plain).module, all_of_them).numpy()[np.arange(72), labels]
    else:
        images = torch.from_numpy(all_of_them).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            scores = load(generator).module.discriminate(images, torch.from_numpy(labels)).numpy()  # type: ignore[operator]
    best = np.sort(scores.reshape(6, 12).argsort(axis=1)[:, -3:], axis=1) + 12 * EACH[:, None]
    assert (kept == all_of_them[best.ravel()]).all()
