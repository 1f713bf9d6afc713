"""Two processes against one."""

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from mlflow.entities import Run
from torch import Tensor, nn

from facelab.commands.train import check_training
from facelab.config.compose import config_folder
from facelab.nets.encoders import ImageShape
from facelab.protocols.base import Subject
from facelab.runs.begin import resolved
from facelab.runs.evaluate import outputs
from facelab.runs.prepare import Prepared
from facelab.training.callbacks.images_seen import ImagesSeen
from facelab.training.launch import launch
from tests.conftest import TINY, TINY_CNN, TINY_GAN, Command, start, wait_for_checkpoint

Runs = Callable[[], list[Run]]
Experiment = tuple[str, str]


def _config(*overrides: str) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return resolved(check_training(compose("train", list(overrides))))


class PlainEncoder(nn.Module):
    """Without batch norm and dropout: what a picture gives does not depend on the others in its batch."""

    embedding_dim = 8

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(image_shape[0], 4, 5, stride=3)
        self.linear = nn.LazyLinear(self.embedding_dim)
        self(torch.zeros(1, *image_shape))

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.linear(torch.relu(self.convolution(images)).flatten(1))
        return embeddings


class _Gradients(pl.Callback):
    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found = {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}


def _one_step(config: Mapping[str, Any]) -> dict[str, Tensor]:
    prepared = Prepared.of(config)
    gradients = _Gradients()
    several = not prepared.module.automatic_optimization
    trainer = prepared.settings.make([ImagesSeen(16, 1), gradients], 1, has_validation=False, several_losses=several)
    trainer.fit(prepared.module, datamodule=prepared.data)
    return gradients.found


def _test_outputs(config: Mapping[str, Any]) -> tuple[Tensor, Tensor, Mapping[str, float]]:
    prepared = Prepared.of(config)
    trainer = prepared.settings.make([], 1, has_validation=False)
    on_train, on_test = (
        outputs(trainer, prepared.module, prepared.data, indices)
        for indices in (prepared.splits.train, prepared.splits.test)
    )
    subject = Subject(prepared.faces, prepared.splits, on_train, on_test, prepared.module, seed=1)
    report = prepared.protocols["classification"].evaluate(subject)
    return torch.from_numpy(on_test.embeddings), torch.from_numpy(on_test.indices), report.metrics


@pytest.mark.slow
def test_float32_gradients_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELAB_ALLOW", "tests")
    one = _config(*TINY, "trainer.precision=32-true", "model.recipe.batch_size=16", "model.recipe.max_images=16")
    one["model"]["encoder"] = {"_target_": "tests.training.test_distributed.PlainEncoder", "_partial_": True}
    two = {**one, "trainer": {**one["trainer"], "devices": 2}}
    alone, shared = _one_step(one), launch(2, _one_step, two)
    assert alone.keys() == shared.keys()
    assert len(alone) == 5
    for name, gradient in alone.items():
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(shared[name], gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_float32_gradients_of_a_gan_agree() -> None:
    plain = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.01}
    one = _config(*TINY_GAN, "model=gan", "trainer.precision=32-true", "model.recipe.max_images=16")
    one["model"]["optimizers"].update(generator=plain, discriminator=plain)
    penalties = [{"_target_": f"facelab.losses.{name}", "_partial_": True} for name in ("r1", "r2")]
    one["model"]["objective"]["penalties"] = penalties
    two = {**one, "trainer": {**one["trainer"], "devices": 2}}
    alone, shared = _one_step(one), launch(2, _one_step, two)
    assert alone.keys() == shared.keys()
    assert {name.split(".")[0] for name in alone} == {"generator", "discriminator", "encoder"}
    for name, gradient in alone.items():
        torch.testing.assert_close(shared[name], gradient, rtol=1e-5, atol=1e-5)
    assert max(float(gradient.abs().max()) for name, gradient in alone.items() if "generator" in name) > 1e-3


@pytest.mark.slow
def test_float32_gradients_of_a_diffusion_model_agree() -> None:
    small = ("model.network.widths=[8,16]", "model.recipe.batch_size=16", "model.recipe.max_images=16")
    one = _config(*TINY, "model=diffusion_conditional", "trainer.precision=32-true", *small)
    two = {**one, "trainer": {**one["trainer"], "devices": 2}}
    alone, shared = _one_step(one), launch(2, _one_step, two)
    assert alone.keys() == shared.keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(shared[name], gradient, rtol=1e-5, atol=1e-5)
    assert alone["network.output.2.weight"].abs().max() > 1e-3


@pytest.mark.slow
def test_the_same_weights_give_the_same_test_metrics() -> None:
    # 21 test pictures: one rank sees a picture twice to fill its share.
    split = ("split.train=0.5", "split.val=0.2", "split.test=0.3", "data.last_person=7")
    one = _config(*TINY_CNN, *split)  # weights as the seed makes them, equal in all processes
    two = {**one, "trainer": {**one["trainer"], "devices": 2}}
    embeddings, indices, metrics = _test_outputs(one)
    shared_embeddings, shared_indices, shared_metrics = launch(2, _test_outputs, two)
    assert metrics == shared_metrics
    assert torch.equal(indices, shared_indices)
    torch.testing.assert_close(embeddings, shared_embeddings, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_rank_that_dies_closes_the_run(experiment: Experiment, runs: Runs, tmp_path: Path) -> None:
    overrides = (*TINY_CNN, *experiment, "trainer=ddp", "model.recipe.max_images=10000000")
    process = start(tmp_path, *overrides, "runtime.checkpoint_every_s=0.5")
    folder = wait_for_checkpoint(tmp_path, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    ranks = [worker for worker in workers if "spawn_main" in " ".join(worker.cmdline())]
    assert len(ranks) == 2
    begun = time.monotonic()
    ranks[1].kill()
    output, _ = process.communicate(timeout=120)
    assert time.monotonic() - begun < 60
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert "Error: process" in output
    (run,) = runs()
    assert run.info.run_id == folder.name
    assert run.info.status == "FAILED"
    assert "SIGKILL" in run.data.tags["reason"]


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on(
    facelab: Command, experiment: Experiment, runs: Runs, tmp_path: Path
) -> None:
    overrides = (*TINY_CNN, *experiment, "trainer=ddp", "trainer.precision=32-true", "model.recipe.max_images=16000")
    process = start(tmp_path, *overrides)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not any("train/loss" in run.data.metrics for run in runs()):
        time.sleep(0.5)
    for child in psutil.Process(process.pid).children(recursive=True):  # Ctrl-C reaches all of them
        child.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    (run,) = runs()
    assert run.info.status == "KILLED"
    (checkpoint,) = tmp_path.glob("runs/*/checkpoints/*.ckpt")
    process = start(tmp_path, f"resume={run.info.run_id}")
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert f"after {int(checkpoint.stem.partition('=')[2]):,} of 16,000 images" in output
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["fit/images_seen"] == 16000
