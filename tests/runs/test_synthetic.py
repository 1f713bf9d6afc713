"""Whole runs with synthetic faces in training, and the runs that generate these."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image
from safetensors.torch import load_file

from facelab.data import Folder
from facelab.data.faces import FaceSet
from facelab.data.image_list import read_image_list
from facelab.models.trained import load, probabilities
from facelab.synthetic import GeneratedFaces
from facelab.tracking import TrackedRun
from tests.conftest import TINY_CNN, Command
from tests.runs.synthetic import INTERRUPTED, NEEDED_CNN, generator_of, runs_folder_of, train_run

EACH = np.arange(6)


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELAB_ALLOW", "tests")


def _tested(run: Path) -> list[tuple[str, str]]:
    with (run / "predictions.csv").open(encoding="utf-8") as file:
        return [(row["picture"], row["label"]) for row in csv.DictReader(file)]


def test_generated_faces_join_the_training_images_and_nothing_else(
    place: Sequence[str], generator: Path, plain: Path, client: MlflowClient
) -> None:
    given = (f"synthetic.run={generator.name}", "synthetic.per_identity=3")
    run = train_run(place, *TINY_CNN, "synthetic=gan_conditional", *given)
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
        (["synthetic=gan_conditional", "synthetic.generator=['model=gan']"], "GAN is not conditioned on a label"),
        (["synthetic=mixed_identities", "synthetic.generator=['model=cnn']"], "CNN generates no faces"),
        (["synthetic=autoencoder", "synthetic.selection=discriminator"], "Autoencoder has no discriminator"),
        (["synthetic=duplicates", "model.recipe.sampling=balanced"], "Set synthetic.share=null"),
        (["synthetic=duplicates", "synthetic.share=0.001"], "synthetic.share=0.001: of the 160 images that are drawn"),
        *(
            (["synthetic=gan_conditional", f"synthetic.generator=['model=gan_conditional','{unused}']"], says)
            for unused, says in (
                ("split.seed=4", "synthetic.generator: 'split.seed=4' has no effect: split.seed of this run is that"),
                ("data.last_person=20", "'data.last_person=20' has no effect"),
                ("resume=abc", "'resume=abc' has no effect"),
                ("tracking.experiment=zz", "'tracking.experiment=zz' has no effect"),
                ("name=hello", "'name=hello' has no effect"),
                ("trainer.accelerator=gpu", "'trainer.accelerator=gpu' has no effect"),
                ("seed=1,2", "synthetic.generator: 'seed=1,2': these overrides describe one run, so each takes one"),
            )
        ),
        (["synthetic=gan_transfer", "synthetic.donors=['data=orl','tracking=server']"], "'tracking=server' has no"),
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
    mixed = ("synthetic=mixed_identities", "synthetic.per_identity=2", generator_of(INTERRUPTED))
    (tmp_path / "interrupt").touch()
    before = set(runs_folder_of(place).iterdir())
    outcome = facelab("train", *TINY_CNN, *place, *mixed)
    assert outcome.status == 130, outcome.error
    advice = outcome.error
    stopped = [path for path in set(runs_folder_of(place).iterdir()) - before if path.is_dir()]
    assert {client.get_run(path.name).info.status for path in stopped} == {"KILLED"}
    needed, run = sorted(stopped, key=lambda path: "models.CNN" in (path / "config.yaml").read_text())
    assert [line for line in advice.splitlines() if "resume=" in line] == [
        f"To resume: facelab train resume={run.name}"
    ]

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
    before = set(runs_folder_of(place).iterdir())
    copies = ("synthetic=duplicates", "synthetic.per_identity=null", "synthetic.ratio=0.5")
    assert facelab("train", *TINY_CNN, *place, *copies, INTERRUPTED).status == 130
    (run,) = (path for path in set(runs_folder_of(place).iterdir()) - before if path.is_dir())
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


def test_a_needed_run_whose_folder_is_gone_is_downloaded_or_named(
    facelab: Command, place: Sequence[str], generator: Path, client: MlflowClient, tmp_path: Path
) -> None:
    (tmp_path / "interrupt").touch()
    its = [*NEEDED_CNN, "seed=7"]
    selected = ("synthetic.selection=recogniser", f"synthetic.recogniser={its}", "synthetic.per_identity=1")
    given = ("synthetic=gan_conditional", f"synthetic.run={generator.name}", *selected)
    before = set(runs_folder_of(place).iterdir())
    outcome = facelab("train", *TINY_CNN, *place, *given, INTERRUPTED)
    assert outcome.status == 130, outcome.error
    (run,) = (
        path
        for path in set(runs_folder_of(place).iterdir()) - before
        if path.is_dir() and TrackedRun.open(path).needs().get("recogniser")
    )
    needed = runs_folder_of(place) / TrackedRun.open(run).needs()["recogniser"]
    shutil.rmtree(needed)
    client.delete_run(needed.name)
    outcome = facelab("train", f"resume={run.name}", place[0])
    assert outcome.status == 2
    assert f"the run depends on a trained recogniser, run {needed.name}, which is gone" in outcome.error
    assert f"Restore the folder {needed}" in outcome.error
    client.restore_run(needed.name)
    outcome = facelab("train", f"resume={run.name}", place[0])
    assert outcome.status == 0, outcome.error
    assert f"Downloading run {needed.name}" in outcome.out


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
