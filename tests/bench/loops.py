"""What is timed: steps of training as facelab makes them, and of the plainest loops."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.utils.data import DataLoader

from facelab.commands.train import TrainConfig, check_training
from facelab.config.build import build
from facelab.config.compose import config_folder
from facelab.data.module import FaceDataModule
from facelab.data.order import ByImage
from facelab.data.splits.base import split
from facelab.losses.adversarial import r1, relativistic_logistic
from facelab.models.base import FaceModule, OneLossModule, to_float
from facelab.models.vae_gan import VAEGAN
from facelab.nets.diffaugment import DiffAugment
from facelab.nets.light import LocalContrastNormalisation
from facelab.runs.experiment import Experiment
from facelab.tracking import SqliteStore, TrackedRun
from facelab.training.callbacks.averaging import ExponentialMovingAverage
from facelab.training.callbacks.images_seen import ImagesSeen
from facelab.training.callbacks.stop_on_nan import StopOnNaN
from facelab.training.callbacks.training_log import Record, TrainingLog

STEPS = 200  # of a comparison that is to hold to a few percent
SHORT = 50  # of one that is not
BATCH = 64
BUSY_PROCESSES, CROWDED = 4, 12  # CROWDED steps beside them


def experiment_of(*overrides: str) -> Experiment:
    """The objects of a config."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = check_training(compose("train", ["split=few_shot", f"model.recipe.batch_size={BATCH}", *overrides]))
    return TrainConfig(**build(config))


def module_of(experiment: Experiment, channels_last: bool = True) -> FaceModule:
    """The untrained model of an experiment, the same each time."""
    torch.manual_seed(0)
    module = experiment.model(image_shape=(1, 64, 64), num_classes=40)
    return module.to(memory_format=torch.channels_last) if channels_last else module


def _batches(count: int) -> list[dict[str, Tensor]]:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 1, 64, 64), dtype=torch.uint8)
    return [{"image": images, "label": torch.randint(0, 40, (BATCH,)), "index": torch.arange(BATCH)}] * count


def bare_step(experiment: Experiment, steps: int, bf16: bool, fast: bool = True) -> float:
    """Milliseconds a step of the plainest loop; not `fast` is float32, NCHW and an unfused Adam."""
    module, batches = module_of(experiment, channels_last=fast), _batches(steps)
    assert isinstance(module, OneLossModule)
    optimizer = module.configure_optimizers() if fast else torch.optim.Adam(module.parameters(), lr=1e-3)
    begun = time.perf_counter()
    for batch in batches:
        image = to_float(batch["image"])
        inputs = {**batch, "image": image if fast else image.contiguous()}
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and fast):
            loss: Any = module.losses(inputs)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - begun) / steps * 1000


def bare_gan_step(experiment: Experiment, steps: int, bf16: bool) -> float:
    """Milliseconds a step of the plainest loop that does the arithmetic of model=gan."""
    module, augment, normalised = module_of(experiment), DiffAugment(), LocalContrastNormalisation()
    assert isinstance(module, VAEGAN)

    def seen(images: Tensor, draws: Tensor) -> Tensor:
        images = augment(images, draws)
        return torch.cat([images, 0.5 * normalised(images)], dim=1)

    generator, discriminator = module.generator, module.discriminator
    generator_optimizer, discriminator_optimizer = module.configure_optimizers()
    begun = time.perf_counter()
    for step, batch in enumerate(_batches(steps)):
        module.images_seen = step * module.recipe.batch_size
        real, latents = to_float(batch["image"]), torch.randn(BATCH, module.latent_dim)
        draws = torch.rand(3, BATCH, DiffAugment.DRAWS)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            generated = generator(latents).float()
            seen_real, seen_generated = seen(real, draws[0]), seen(generated.detach(), draws[1])
            real_logits, logits = discriminator(seen_real).float(), discriminator(seen_generated).float()
            loss = relativistic_logistic(real_logits, logits).discriminator
            if step % 8 == 0:
                loss = loss + 8 * (r1(discriminator, seen_real, seen_generated))
        discriminator_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        discriminator_optimizer.step()
        discriminator.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = discriminator(seen(generated, draws[2])).float()
            loss = relativistic_logistic(real_logits.detach(), logits).generator
            for term in module.further_terms(real, batch["label"]).values():
                loss = loss + term
        generator_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        generator_optimizer.step()
        discriminator.requires_grad_(True)
    return (time.perf_counter() - begun) / steps * 1000


class _Clock(pl.Callback):
    """Lightning's own start and end, which a run has once, are left out."""

    def __init__(self, steps: int) -> None:
        self.steps, self.seconds = steps, 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.seconds = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.steps - 1:
            self.seconds = time.perf_counter() - self.seconds


def facelab_step(
    experiment: Experiment, record: Record = lambda values, images_seen: None, steps: int = STEPS
) -> float:
    """Milliseconds a step of a run as `facelab train` makes it, averaging and logging included."""
    module, clock = module_of(experiment), _Clock(steps)
    callbacks: list[pl.Callback] = [ImagesSeen(steps * BATCH, 0), StopOnNaN(), TrainingLog(record)]
    if module.recipe.ema_half_life_images:
        callbacks.append(ExponentialMovingAverage(module.recipe.ema_half_life_images, BATCH))
    trainer = experiment.trainer.resolved().make(
        [*callbacks, clock], steps, has_validation=False, several_losses=not module.automatic_optimization
    )
    trainer.fit(module, DataLoader(_batches(steps), batch_size=None))  # type: ignore[arg-type]
    return clock.seconds / steps * 1000


def tracked_step(experiment: Experiment, folder: Path) -> float:
    """As `ours`, recorded in a sqlite store, with heartbeat and system metrics."""
    tracked = TrackedRun.create(SqliteStore(str(folder)), "bench", {}, folder / "runs")
    with tracked.delivering(print):
        milliseconds = facelab_step(experiment, tracked.metrics)
        tracked.status("FINISHED")
    return milliseconds


def loader_batch(experiment: Experiment) -> float:
    """Milliseconds a batch of the input pipeline alone, with 2 workers."""
    faces = experiment.data.load()
    splits = split(faces, experiment.split)
    order = ByImage(splits.train, BATCH, seed=0)
    data = FaceDataModule(faces, splits, experiment.augment, order, BATCH * SHORT, 0, 2)
    batches = iter(data.train_dataloader())
    next(batches)
    begun = time.perf_counter()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - begun) / count * 1000


def crowded_step() -> float:
    """Milliseconds a step of the plainest loop of `cnn`, beside processes that are always busy."""
    experiment = experiment_of("model=cnn")
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY_PROCESSES)]
    try:
        return bare_step(experiment, CROWDED, experiment.trainer.resolved().precision == "bf16-mixed")
    finally:
        for other in others:
            other.kill()
            other.wait()
