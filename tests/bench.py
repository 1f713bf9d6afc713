"""Speed, as ratios measured side by side in one process: `make bench`.

Prints a Markdown table; medians over repetitions taken in turn, with the smallest and largest.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.utils.data import DataLoader

from facelab.callbacks.averaging import ExponentialMovingAverage
from facelab.callbacks.images_seen import ImagesSeen
from facelab.callbacks.stop_on_nan import StopOnNaN
from facelab.callbacks.training_log import TrainingLog
from facelab.cli import check_training, config_folder
from facelab.config import build
from facelab.data.module import FaceDataModule
from facelab.data.split import split
from facelab.models.base import FaceModule, to_float
from facelab.run import Experiment
from facelab.tracking import environment

STEPS = 200
REPETITIONS = 5
BATCH = 64


def _experiment(*overrides: str) -> Experiment:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = check_training(compose("train", ["split=few_shot", f"model.recipe.batch_size={BATCH}", *overrides]))
    return Experiment(**build(config))


def _module(experiment: Experiment, channels_last: bool = True) -> FaceModule:
    torch.manual_seed(0)
    module = experiment.model(image_shape=(1, 64, 64), num_classes=40)
    return module.to(memory_format=torch.channels_last) if channels_last else module


def _batches(count: int) -> list[dict[str, Tensor]]:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 1, 64, 64), dtype=torch.uint8)
    return [{"image": images, "label": torch.randint(0, 40, (BATCH,)), "index": torch.arange(BATCH)}] * count


def _bare(module: FaceModule, optimizer: torch.optim.Optimizer, bf16: bool, channels_last: bool = True) -> float:
    """Milliseconds a step of the plainest loop."""
    batches = _batches(STEPS)
    begun = time.perf_counter()
    for batch in batches:
        image = to_float(batch["image"])
        inputs = {**batch, "image": image if channels_last else image.contiguous()}
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss: Any = module.losses(inputs)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - begun) / STEPS * 1000


class _Clock(pl.Callback):
    """Lightning's own start and end, which a run has once, are left out."""

    seconds = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.seconds = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == STEPS - 1:
            self.seconds = time.perf_counter() - self.seconds


def _ours(experiment: Experiment) -> float:
    """Milliseconds a step of a run as `facelab train` makes it, averaging and logging included."""
    module, clock = _module(experiment), _Clock()
    callbacks: list[pl.Callback] = [ImagesSeen(STEPS * BATCH, 0), StopOnNaN(), TrainingLog(lambda values, seen: None)]
    if module.recipe.ema_half_life_images:
        callbacks.append(ExponentialMovingAverage(module.recipe.ema_half_life_images, BATCH))
    trainer = experiment.trainer.resolved().make([*callbacks, clock], STEPS, has_validation=False)
    trainer.fit(module, DataLoader(_batches(STEPS), batch_size=None))  # type: ignore[arg-type]
    return clock.seconds / STEPS * 1000


def _loader(experiment: Experiment) -> float:
    """Milliseconds a batch of the input pipeline alone."""
    faces = experiment.data.load()
    data = FaceDataModule(faces, split(faces, experiment.split), experiment.augment, BATCH, BATCH * STEPS, 0, 2)
    batches = iter(data.train_dataloader())
    next(batches)
    begun = time.perf_counter()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - begun) / count * 1000


def _in_turn(first: Callable[[], float], second: Callable[[], float]) -> tuple[list[float], list[float]]:
    pairs = [(first(), second()) for _ in range(REPETITIONS + 1)][1:]  # the first pair warms up
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _row(name: str, wanted: str, pairs: tuple[list[float], list[float]]) -> str:
    ratios = [a / b for a, b in zip(*pairs, strict=True)]
    a, b = (statistics.median(times) for times in pairs)
    middle = statistics.median(ratios)
    return f"| {name} | {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {wanted} | {a:.1f} / {b:.1f} ms |"


def main() -> None:
    """Measure and print."""
    settings = _experiment().trainer.resolved()
    assert settings.threads is not None
    torch.set_num_threads(settings.threads)
    bf16 = settings.precision == "bf16-mixed"
    facts = {**environment.hardware(), **environment.versions()}
    print(f"{facts['hardware.cpu']}, {settings.threads} threads, torch {facts['version.torch']}, {settings.precision},")
    print(f"batch {BATCH}, {STEPS} steps, {REPETITIONS} pairs in turn\n")
    print("| ratio of times | median (range) | aim | medians |\n|---|---|---|---|")
    for name in ("cnn", "cnn_seed"):
        experiment = _experiment(f"model={name}")

        def bare(experiment: Experiment = experiment, fast: bool = True) -> float:
            module = _module(experiment, channels_last=fast)
            rate = 1e-3
            optimizer = module.configure_optimizers() if fast else torch.optim.Adam(module.parameters(), lr=rate)
            return _bare(module, optimizer, bf16 and fast, channels_last=fast)

        pairs = _in_turn(lambda e=experiment: _ours(e), bare)  # type: ignore[misc]
        print(_row(f"`{name}`: a step / a bare loop's", "at most 1.05", pairs), flush=True)
        pairs = _in_turn(lambda f=bare: f(fast=False), bare)  # type: ignore[misc]
        print(_row(f"`{name}`: float32, NCHW, unfused / as it is", "at least 2.5", pairs), flush=True)
        pairs = _in_turn(bare, lambda e=experiment: _loader(e))  # type: ignore[misc]
        print(_row(f"`{name}`: a step / a batch of 2 workers", "at least 3", pairs), flush=True)


if __name__ == "__main__":
    main()
