"""Autoencoders and GANs as whole runs, beside the CNN on one yardstick."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from facelab.data.sources.orl import ORL
from facelab.models.base import Generative
from facelab.models.sampling import sample
from facelab.models.trained import embeddings, load
from tests.conftest import TINY, TINY_GAN, Command, start
from tests.data.made import make_folder

Runs = Callable[[], list[Run]]
Experiment = tuple[str, str]

TINY_AUTOENCODER = (
    *TINY,
    "model.latent_dim=8",
    "model.encoder.widths=[8,16]",
    "model.decoder.widths=[16,8]",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=160",
)


def _shown(client: MlflowClient, run: Run) -> dict[str, set[int]]:
    """Steps at which MLflow has a picture, by name."""
    found: dict[str, set[int]] = {}
    for item in client.list_artifacts(run.info.run_id, "images"):
        named = re.match(r"(.+?)[+%]step[+%](\d+)", Path(item.path).name)
        assert named, item.path
        found.setdefault(named[1], set()).add(int(named[2]))
    return found


def test_an_autoencoder_is_asked_the_same_and_shows_what_it_makes_of_faces(
    facelab: Command, experiment: Experiment, runs: Runs, client: MlflowClient, tmp_path: Path
) -> None:
    outcome = facelab("train", "model=autoencoder", *TINY_AUTOENCODER, *experiment)
    assert outcome.status == 0, outcome.error
    (run,) = runs()
    metrics = run.data.metrics
    assert metrics["test/accuracy"] == metrics["linear_probe/accuracy"]  # it has no head of its own
    assert {"train/psnr", "val/loss", "val/psnr", "val/ssim", "knn/accuracy", "pca/accuracy"} <= metrics.keys()
    assert metrics["reconstruction/rmse"] / metrics["reconstruction/pca_rmse"] == pytest.approx(
        metrics["reconstruction/rmse_over_pca"]
    )
    shown = _shown(client, run)
    assert shown["reconstructions"] == set(range(16, 161, 16))  # ten times, in images seen
    assert {"interpolations", "traversals", "reconstruction_by_identity", "confusion_matrix"} <= shown.keys()
    assert "PCA, 8 components" in outcome.out

    # The error of the kept weights, a second time and by hand.
    trained = load(tmp_path / "runs" / run.info.run_id)
    with (tmp_path / "runs" / run.info.run_id / "predictions.csv").open() as file:
        indices = [int(row["picture"]) for row in csv.DictReader(file)]
    faces = ORL(image_size=32, last_person=6).load()
    pixels = np.stack([faces.pixels[i] for i in indices])
    with torch.no_grad():
        made = trained.module.decode(embeddings(trained.module, pixels))  # type: ignore[operator]
    error = (made.permute(0, 2, 3, 1).numpy() + 1) / 2 - pixels / 255
    assert np.sqrt(np.mean(error**2)) == pytest.approx(metrics["reconstruction/rmse"], rel=1e-4)


def test_a_denoising_autoencoder_is_shown_the_originals(facelab: Command, experiment: Experiment, runs: Runs) -> None:
    """At first a decoder paints mid grey: far from black, which all pictures are turned into, and near to faces."""
    dark = "augment.transforms=[{_target_:albumentations.RandomBrightnessContrast,brightness_limit:[-1,-1],p:1.0}]"
    for model in ("autoencoder", "autoencoder_denoising"):
        outcome = facelab("train", f"model={model}", *TINY_AUTOENCODER, *experiment, dark)
        assert outcome.status == 0, outcome.error
    denoising, plain = (run.data.metrics["train/loss"] for run in runs())
    assert denoising < 0.4 < 0.6 < plain


def test_a_generative_run_finds_or_trains_the_runs_that_judge_it(
    facelab: Command, experiment: Experiment, runs: Runs, client: MlflowClient, tmp_path: Path
) -> None:
    for seed in (1, 2):
        outcome = facelab("train", "model=gan", *TINY_GAN, *experiment, f"seed={seed}")
        assert outcome.status == 0, outcome.error
        assert ("Training it first" in outcome.out) == (seed == 1)
    second, first = runs()
    name = experiment[1].partition("=")[2].strip("'")
    apart = client.get_experiment_by_name(f"{name} · needed")
    needed = {run.info.run_name: run for run in client.search_runs([apart.experiment_id])}
    assert needed.keys() == {"embedder", "face classifier"}
    for what, run in (("embedder", needed["embedder"]), ("face_classifier", needed["face classifier"])):
        for needing in (first, second):
            assert needing.data.tags[f"needs.{what}"] == run.info.run_id
            assert needing.data.tags[f"needs.{what}.config_hash"] == run.data.tags["config.hash"]
            assert run.data.tags[f"needed_by.{needing.info.run_id}"] == what
    assert first.data.tags["config.hash"] != second.data.tags["config.hash"]

    metrics = first.data.metrics
    for measure in ("kid_face", "kid_face_sd", "kid_face_floor", "frechet_face", "precision", "recall", "face_share"):
        assert f"generation/{measure}" in metrics
    assert {"train/generator_loss", "train/discriminator_loss", "train/penalty"} <= metrics.keys()
    assert metrics["fit/images_seen"] == 160
    assert "fit/best_images_seen" not in metrics  # nothing says which weights are best
    shown = _shown(client, first)
    assert shown["samples"] == set(range(16, 161, 16))
    assert {"nearest_training_faces", "interpolations", "truncation"} <= shown.keys()


@pytest.mark.slow
def test_two_runs_at_once_train_what_both_need_only_once(
    experiment: Experiment, runs: Runs, client: MlflowClient, tmp_path: Path
) -> None:
    processes = [start(tmp_path, "model=gan", *TINY_GAN, *experiment, f"seed={seed}") for seed in (1, 2)]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    apart = client.get_experiment_by_name(f"{experiment[1].partition('=')[2]} · needed".replace("'", ""))
    assert len(client.search_runs([apart.experiment_id])) == 2
    assert len(runs()) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "penalty"),
    [
        ("wasserstein", "interpolated_gradient_penalty"),
        ("non_saturating", "r2"),
        ("hinge", "r1"),
    ],
)
def test_every_loss_and_penalty_trains(
    facelab: Command, store_folder: Path, experiment: Experiment, runs: Runs, loss: str, penalty: str
) -> None:
    outcome = facelab(
        "train",
        "model=gan",
        *TINY_GAN,
        *experiment,
        f"runtime.runs_folder={store_folder / 'runs'}",
        f"model.objective.loss._target_=facelab.losses.{loss}",
        f"model.objective.penalties=[{{_target_:facelab.losses.{penalty},_partial_:true}}]",
        "model.objective.penalty_every=2",
    )
    assert outcome.status == 0, outcome.error
    (run,) = runs()
    assert run.data.metrics["train/penalty"] > 0


def test_sets_too_small_to_judge_by_are_refused_before_training(facelab: Command, tmp_path: Path) -> None:
    outcome = facelab(
        "train", "model=gan", *TINY_GAN, "data.last_person=2", "split=few_shot", "split.train_per_identity=1"
    )
    assert outcome.status == 2
    assert "this split has 2 and 18 of them" in outcome.error
    single = make_folder(tmp_path / "faces", people=5, pictures=2)
    for path in single.glob("*/1.png"):
        path.unlink()
    outcome = facelab("train", "model=autoencoder", "data=folder", f"data.root={single}")
    assert "5 of 5 classes" in outcome.error
    assert "'person0'" in outcome.error
    assert {path.name for path in tmp_path.iterdir()} == {"faces"}


def test_verification_of_strangers(facelab: Command, experiment: Experiment, runs: Runs, client: MlflowClient) -> None:
    strangers = ("protocol=verification", "split=identity_disjoint", "split.train_people=3")
    outcome = facelab("train", *TINY, *experiment, *strangers, "model.recipe.max_images=32")
    assert outcome.status == 0, outcome.error
    (run,) = runs()
    metrics = run.data.metrics
    assert metrics["verification/genuine_pairs"] == 3 * 45
    assert metrics["verification/impostor_pairs"] == 3 * 100
    assert 0.5 < metrics["verification/auc"] <= 1
    assert metrics["verification/eer_low"] <= metrics["verification/eer"] <= metrics["verification/eer_high"]
    assert "test/accuracy" not in metrics
    assert "roc" in _shown(client, run)
    assert "TAR at FAR 1e-1" in outcome.out  # the rule of 30, with 300 impostor pairs


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory, store_folder: Path) -> Path:
    """Folder of a run of a conditional GAN, in a runs folder with one of a CNN."""
    folder = tmp_path_factory.mktemp("conditional")
    for model in (["model=gan_conditional", *TINY_GAN], ["model=cnn", *TINY, "model.recipe.max_images=32"]):
        process = start(folder, *model, f"tracking.folder={store_folder}", "tracking.experiment=generate")
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 0, output
    configs = {path.parent: path.read_text() for path in folder.glob("runs/*/config.yaml")}
    return next(path for path, text in configs.items() if "ConditionalVAEGAN" in text)


def test_generate_writes_pictures_a_grid_and_a_manifest(facelab: Command, conditional: Path, tmp_path: Path) -> None:
    place = (f"run={conditional.name}", f"runs_folder={conditional.parent}")
    outcome = facelab("generate", *place, "n=5", "label=3", "seed=7", "out=three")
    assert outcome.status == 0, outcome.error
    metrics = json.loads((conditional / "metrics.json").read_text())
    assert metrics.keys() >= {f"generation/gan_{name}" for name in ("test", "test_real", "train", "train_real")}
    manifest = json.loads((tmp_path / "three" / "manifest.json").read_text())
    assert manifest["run"] == conditional.name
    assert [image["label"] for image in manifest["images"]] == ["s4"] * 5
    first = [np.asarray(Image.open(tmp_path / "three" / image["file"])) for image in manifest["images"]]
    assert {image.shape for image in first} == {(32, 32)}
    for name in ("grid.png", "interpolations.png"):
        assert Image.open(tmp_path / "three" / name).size[0] >= 96

    assert facelab("generate", *place, "n=2", "label=3", "seed=7", "out=two").status == 0
    assert facelab("generate", *place, "n=2", "label=2", "seed=7", "out=other").status == 0
    again, other = (np.asarray(Image.open(tmp_path / name / "00001.png")) for name in ("two", "other"))
    assert (again == first[1]).all()  # the same latent whatever n is
    assert (other != first[1]).any()  # another person


def test_generate_refuses_what_it_cannot_do(facelab: Command, conditional: Path, tmp_path: Path) -> None:
    folder = f"runs_folder={conditional.parent}"
    cnn = next(
        path.parent.name for path in conditional.parent.glob("*/config.yaml") if "models.CNN" in path.read_text()
    )
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    for overrides, says in (
        ([], "run: has no value yet"),
        (["run=0123"], "there is no such run"),
        ([f"run={cnn}"], "model=gan"),
        ([f"run={conditional.name}", "label=6"], "6 labels, 0 (s1) to 5 (s6)"),
        ([f"run={conditional.name}", "n=0"], "n: expected"),
        ([f"run={conditional.name}", f"out={full}"], "is not empty"),
        ([f"run={conditional.name}", "out=/proc/x"], "cannot be written"),
    ):
        outcome = facelab("generate", folder, *overrides)
        assert outcome.status == 2, overrides
        assert outcome.error.startswith("Error: ")
        assert says in outcome.error
        assert "Traceback" not in outcome.error
    assert (full / "mine.txt").read_text() == "mine"


def _config(folder: Path) -> str:
    return (folder / "config.yaml").read_text()


def test_samples_depend_on_seed_and_number_alone(conditional: Path) -> None:
    module = load(conditional).module
    assert isinstance(module, Generative)
    many, labels = sample(module, 300, seed=3)  # more than a batch
    few, _ = sample(module, 7, seed=3)
    assert (np.abs(many[:7].astype(int) - few) <= 1).all()
    assert labels[:8].tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    typical, _ = sample(module, 12, seed=3, psi=0.0)
    assert (typical[0] == typical[6]).all()  # without a latent, only the label is left


def test_a_damaged_model_is_refused(conditional: Path, tmp_path: Path) -> None:
    from facelab.errors import ConfigError

    (tmp_path / "config.yaml").write_text(_config(conditional))
    with pytest.raises(ConfigError, match="holds no trained model"):
        load(tmp_path)
    weights = (conditional / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "config.yaml").write_text(_config(conditional).replace("latent_dim: 4", "latent_dim: 5"))
    with pytest.raises(ConfigError, match="do not fit its config"):
        load(tmp_path)
    (tmp_path / "config.yaml").write_text(_config(conditional).replace("facelab.models.ConditionalVAEGAN", "os.system"))
    with pytest.raises(ConfigError, match="outside the allowed packages"):
        load(tmp_path)


@pytest.mark.slow
def test_two_processes_train_one_gan(experiment: Experiment, runs: Runs, tmp_path: Path) -> None:
    process = start(
        tmp_path, "model=dcgan", *TINY_GAN, *experiment, "trainer=ddp", "model.recipe.ema_half_life_images=100"
    )
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "unused" not in output
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["fit/images_seen"] == 160
    assert "generation/kid_face" in run.data.metrics


@pytest.mark.slow
def test_a_gan_whose_loss_is_no_number_stops_within_a_step(
    facelab: Command, experiment: Experiment, runs: Runs
) -> None:
    outcome = facelab("train", "model=gan", *TINY_GAN, *experiment, "model.optimizers.discriminator.lr=1e30")
    assert outcome.status == 1
    assert "the loss became NaN or infinite after" in outcome.error
    assert "model.optimizers.generator" in outcome.error
    (run,) = runs()
    assert run.info.status == "FAILED"


@pytest.mark.slow
def test_inception_features_come_from_a_torchscript_file(
    facelab: Command, experiment: Experiment, runs: Runs, tmp_path: Path
) -> None:
    (tmp_path / "make.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, images, return_features: bool = False):\n"
        "        assert return_features and images.dtype == torch.uint8\n"
        "        assert images.shape[1:] == (3, 299, 299)\n"
        "        return torch.nn.functional.avg_pool2d(images.float(), 100).flatten(1)\n"
        "torch.jit.script(Net()).save('features.ts')\n"
    )
    subprocess.run([sys.executable, "make.py"], cwd=tmp_path, check=True)
    outcome = facelab("train", "model=gan", *TINY_GAN, *experiment, "protocol.generation.inception=features.ts")
    assert outcome.status == 0, outcome.error
    (run,) = runs()
    assert run.data.metrics["generation/fid"] > 0
    assert "generation/kid" in run.data.metrics
    assert "KID, Inception" in outcome.out
    (tmp_path / "bad.ts").write_text("no network")
    outcome = facelab("train", "model=gan", *TINY_GAN, *experiment, "protocol.generation.inception=bad.ts")
    assert "protocol.generation.inception: bad.ts" in outcome.error
