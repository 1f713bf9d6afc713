"""Speed, as ratios measured side by side in one process: `make bench`.

Writes a table into docs/benchmarks.md: medians over pairs taken in turn, with the smallest and largest.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.utils.data import DataLoader

from facelab.commands.train import TrainConfig, check_training
from facelab.config.build import build
from facelab.config.compose import config_folder
from facelab.data.faces import InMemory
from facelab.data.module import FaceDataModule
from facelab.data.order import ByImage
from facelab.data.splits.base import Splits, split
from facelab.losses.adversarial import r1, relativistic_logistic
from facelab.models.base import FaceModule, OneLossModule, to_float
from facelab.models.vae_gan import VAEGAN
from facelab.nets.diffaugment import DiffAugment
from facelab.nets.light import LocalContrastNormalisation
from facelab.runs.evaluate import outputs
from facelab.runs.experiment import Experiment
from facelab.tracking import SqliteStore, TrackedRun, environment
from facelab.training.callbacks.averaging import ExponentialMovingAverage
from facelab.training.callbacks.images_seen import ImagesSeen
from facelab.training.callbacks.stop_on_nan import StopOnNaN
from facelab.training.callbacks.training_log import Record, TrainingLog

STEPS = 200  # of a comparison that is to hold to a few percent
SHORT = 50  # of one that is not
PAIRS = 5
BATCH = 64
EMBEDDED = 2560  # images, ten batches of an evaluation
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- speed: written by make bench -->", "<!-- end of speed -->"

IMPORTS = """
import os; os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import torch, pytorch_lightning, mlflow, albumentations
"""
FIRST_STEP = """
import os
from facelab import cli
from facelab.losses.adversarial import r1, relativistic_logistic
from facelab.models.base import OneLossModule
OneLossModule.training_step = lambda *arguments: os._exit(0)
cli.main(["train", "model=cnn"])
"""

# Whichever is imported first decides: with facelab OpenMP's waiting threads sleep, with torch alone they spin.
CROWDED_STEPS = """
import {first}, torch
from tests.bench import crowded_step
print(crowded_step())
"""
BUSY_PROCESSES, CROWDED = 4, 12  # CROWDED steps beside them


def _experiment(*overrides: str) -> Experiment:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = check_training(compose("train", ["split=few_shot", f"model.recipe.batch_size={BATCH}", *overrides]))
    return TrainConfig(**build(config))


def _module(experiment: Experiment, channels_last: bool = True) -> FaceModule:
    torch.manual_seed(0)
    module = experiment.model(image_shape=(1, 64, 64), num_classes=40)
    return module.to(memory_format=torch.channels_last) if channels_last else module


def _batches(count: int) -> list[dict[str, Tensor]]:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 1, 64, 64), dtype=torch.uint8)
    return [{"image": images, "label": torch.randint(0, 40, (BATCH,)), "index": torch.arange(BATCH)}] * count


def _bare(experiment: Experiment, steps: int, bf16: bool, fast: bool = True) -> float:
    """Milliseconds a step of the plainest loop; not `fast` is float32, NCHW and an unfused Adam."""
    module, batches = _module(experiment, channels_last=fast), _batches(steps)
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


def _bare_gan(experiment: Experiment, steps: int, bf16: bool) -> float:
    """Milliseconds a step of the plainest loop that does the arithmetic of model=gan."""
    module, augment, normalised = _module(experiment), DiffAugment(), LocalContrastNormalisation()
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


def _ours(experiment: Experiment, record: Record = lambda values, images_seen: None, steps: int = STEPS) -> float:
    """Milliseconds a step of a run as `facelab train` makes it, averaging and logging included."""
    module, clock = _module(experiment), _Clock(steps)
    callbacks: list[pl.Callback] = [ImagesSeen(steps * BATCH, 0), StopOnNaN(), TrainingLog(record)]
    if module.recipe.ema_half_life_images:
        callbacks.append(ExponentialMovingAverage(module.recipe.ema_half_life_images, BATCH))
    trainer = experiment.trainer.resolved().make(
        [*callbacks, clock], steps, has_validation=False, several_losses=not module.automatic_optimization
    )
    trainer.fit(module, DataLoader(_batches(steps), batch_size=None))  # type: ignore[arg-type]
    return clock.seconds / steps * 1000


def _tracked(experiment: Experiment, folder: Path) -> float:
    """As `_ours`, recorded in a sqlite store, with heartbeat and system metrics."""
    tracked = TrackedRun.create(SqliteStore(str(folder)), "bench", {}, folder / "runs")
    with tracked.delivering(print):
        milliseconds = _ours(experiment, tracked.metrics)
        tracked.status("FINISHED")
    return milliseconds


def _loader(experiment: Experiment) -> float:
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


def _process(program: str, folder: Path) -> float:
    """Milliseconds a fresh interpreter takes for a program."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=folder, stdout=subprocess.DEVNULL, check=True, env=os.environ)
    return (time.perf_counter() - begun) * 1000


def crowded_step() -> float:
    """Milliseconds a step of the plainest loop of `cnn`, beside processes that are always busy."""
    experiment = _experiment("model=cnn")
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY_PROCESSES)]
    try:
        return _bare(experiment, CROWDED, experiment.trainer.resolved().precision == "bf16-mixed")
    finally:
        for other in others:
            other.kill()
            other.wait()


def crowded(first: str) -> float:
    """What `crowded_step` gives in a fresh process that imports `first` first: `facelab` or `torch`."""
    unset = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    program = [sys.executable, "-c", CROWDED_STEPS.format(first=first)]
    return float(subprocess.check_output(program, cwd=PAGE.parents[1], env=environment, text=True))


def crowded_row() -> str:
    """The row that shows what letting OpenMP's threads sleep is worth on a shared machine."""
    name = f"`cnn` beside {BUSY_PROCESSES} busy processes: a step with OpenMP's waiting threads asleep / spinning"
    return _row(name, "at most 0.5", lambda: crowded("facelab"), lambda: crowded("torch"))


def embedding_row(experiment: Experiment) -> str:
    """The row that compares embedding images as evaluation does, loading and gathering included, with the bare model.

    Both without test-time augmentation, which multiplies the model's part only.
    """
    att = experiment.data.load()
    chosen = np.resize(np.arange(len(att)), EMBEDDED)
    pixels = np.stack([att.pixels[int(index)] for index in chosen])
    splits = Splits(chosen[:0], chosen[:0], np.arange(EMBEDDED))
    faces, order = replace(att.only(chosen), pixels=InMemory(pixels)), ByImage(splits.train, 1, seed=0)
    data = FaceDataModule(faces, splits, experiment.augment, order, 1, 0, 0)
    module = _module(experiment).eval()
    module.prepare_evaluation(sys.maxsize)
    trainer = experiment.trainer.resolved().make([], 1, has_validation=False, several_losses=False)
    ready = [batch["image"] for batch in data.evaluation_loader(splits.test)]

    def timed(embed: Callable[[], object]) -> float:
        begun = time.perf_counter()
        embed()
        return (time.perf_counter() - begun) / len(ready) * 1000

    @torch.inference_mode()
    def bare() -> None:
        for images in ready:
            module.classify(module.embed(to_float(images)))

    name = f"`cnn`: a batch of {EMBEDDED:,} images when evaluation embeds them / when the bare model does"
    return _row(
        name, "at most 1.11", lambda: timed(lambda: outputs(trainer, module, data, splits.test)), lambda: timed(bare)
    )


def _row(name: str, wanted: str, first: Callable[[], float], second: Callable[[], float]) -> str:
    pairs = [(first(), second()) for _ in range(PAIRS + 1)][1:]  # the first pair warms up
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(times) for times in zip(*pairs, strict=True))
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    row = f"| {name} | {spread} | {wanted} | {a:,.1f} / {b:,.1f} ms |"
    print(row, flush=True)
    return row


def _steps(name: str, bf16: bool) -> list[str]:
    """A model's rows."""
    one = _experiment(f"model={name}")

    def bare(steps: int, fast: bool = True) -> Callable[[], float]:
        return lambda: _bare(one, steps, bf16, fast)

    return [
        _row(f"`{name}`: a step / a bare loop's", "at most 1.05", lambda: _ours(one), bare(STEPS)),
        _row(f"`{name}`: float32, NCHW, unfused Adam / as it is", "at least 2.5", bare(SHORT, False), bare(SHORT)),
        _row(f"`{name}`: a step / a batch of the loader", "at least 3", bare(SHORT), lambda: _loader(one)),
    ]


def main() -> None:
    """Measure, print, and write the page."""
    settings = _experiment().trainer.resolved()
    assert settings.threads is not None
    torch.set_num_threads(settings.threads)
    bf16 = settings.precision == "bf16-mixed"
    facts = {**environment.hardware(), **environment.versions()}
    packages = ("torch", "pytorch-lightning", "mlflow", "albumentations")
    lines = [
        f"{facts['hardware.cpu']}, {facts['hardware.cores']} cores, {settings.threads} threads, {settings.precision}; "
        f"Python {facts['version.python']}, "
        + ", ".join(f"{name} {facts[f'version.{name}']}" for name in packages)
        + f". Batch {BATCH}, {PAIRS} pairs in turn, median (smallest to largest).",
        "",
        "| ratio of times | measured | aim | medians |",
        "|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    lines += [*_steps("cnn", bf16), *_steps("cnn_classic", bf16)]
    gan = _experiment("model=gan")
    bare = "`gan`: a step / a bare loop's"
    lines.append(_row(bare, "at most 1.05", lambda: _ours(gan, steps=SHORT), lambda: _bare_gan(gan, SHORT, bf16)))
    with tempfile.TemporaryDirectory() as temporary:
        folder, cnn = Path(temporary), _experiment("model=cnn")
        lines.append(
            _row("tracking on / off", "at most 1.03", lambda: _tracked(cnn, folder / "on"), lambda: _ours(cnn))
        )
        lines.append(
            _row(
                "command to first training step / the four imports",
                "at most 1.25",
                lambda: _process(FIRST_STEP, folder),
                lambda: _process(IMPORTS, folder),
            )
        )
    lines += [embedding_row(_experiment("model=cnn")), crowded_row()]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
