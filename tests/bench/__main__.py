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

import numpy as np
import pandas as pd
import torch

from facelab.data.faces import InMemory
from facelab.data.module import FaceDataModule
from facelab.data.order import ByImage
from facelab.data.splits.base import Splits
from facelab.exporting.served import Served
from facelab.models.base import to_float
from facelab.runs.evaluate import outputs
from facelab.runs.experiment import Experiment
from facelab.tracking import SqliteStore, environment
from tests.bench.loops import (
    BATCH,
    BUSY_PROCESSES,
    SHORT,
    STEPS,
    bare_gan_step,
    bare_step,
    experiment_of,
    facelab_step,
    loader_batch,
    module_of,
    tracked_step,
)
from tests.exporting.test_http import post, records, served
from tests.exporting.test_served import encoded, face
from tests.tracking.test_models import finished_run, models_of

PAIRS = 5
EMBEDDED = 2560  # images, ten batches of an evaluation
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- speed: written by make bench -->", "<!-- end of speed -->"

IMPORTS = """
import os; os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import torch, pytorch_lightning, mlflow, albumentations
"""
FIRST_STEP = """
import os
from facelab import cli
from facelab.models.base import OneLossModule
OneLossModule.training_step = lambda *arguments: os._exit(0)
cli.main(["train", "model=cnn"])
"""

# Whichever is imported first decides: with facelab OpenMP's waiting threads sleep, with torch alone they spin.
CROWDED_STEPS = """
import {first}, torch
from tests.bench.loops import crowded_step
print(crowded_step())
"""


def _process(program: str, folder: Path) -> float:
    """Milliseconds a fresh interpreter takes for a program."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=folder, stdout=subprocess.DEVNULL, check=True, env=os.environ)
    return (time.perf_counter() - begun) * 1000


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
    module = module_of(experiment).eval()
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


def served_row(folder: Path) -> str:
    """The row that compares an image sent to `mlflow models serve` with the same model in this process."""
    store = SqliteStore(str(folder), "bench")
    run = finished_run(store, folder / "served", "cnn_arcface", side=64)
    assert run.settle()
    model, image = Served.load(run.folder), encoded(face())

    def timed(ask: Callable[[], object]) -> float:
        begun = time.perf_counter()
        for _ in range(SHORT):
            ask()
        return (time.perf_counter() - begun) / SHORT * 1000

    with served(store, f"models:/{models_of(run)[0]}", folder) as address:
        return _row(
            "`cnn_arcface`: an image sent to `mlflow models serve` / the same model in one's own process",
            "-",
            lambda: timed(lambda: post(address, records(image))),
            lambda: timed(lambda: model.predict(pd.DataFrame({"image": [image]}))),
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
    one = experiment_of(f"model={name}")

    def bare(steps: int, fast: bool = True) -> Callable[[], float]:
        return lambda: bare_step(one, steps, bf16, fast)

    return [
        _row(f"`{name}`: a step / a bare loop's", "at most 1.05", lambda: facelab_step(one), bare(STEPS)),
        _row(f"`{name}`: float32, NCHW, unfused Adam / as it is", "at least 2.5", bare(SHORT, False), bare(SHORT)),
        _row(f"`{name}`: a step / a batch of the loader", "at least 3", bare(SHORT), lambda: loader_batch(one)),
    ]


def main() -> None:
    """Measure, print, and write the page."""
    settings = experiment_of().trainer.resolved()
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
    gan = experiment_of("model=gan")
    bare = "`gan`: a step / a bare loop's"
    lines.append(
        _row(bare, "at most 1.05", lambda: facelab_step(gan, steps=SHORT), lambda: bare_gan_step(gan, SHORT, bf16))
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder, cnn = Path(temporary), experiment_of("model=cnn")
        lines.append(
            _row(
                "tracking on / off", "at most 1.03", lambda: tracked_step(cnn, folder / "on"), lambda: facelab_step(cnn)
            )
        )
        lines.append(
            _row(
                "command to first training step / the four imports",
                "at most 1.25",
                lambda: _process(FIRST_STEP, folder),
                lambda: _process(IMPORTS, folder),
            )
        )
        lines.append(served_row(folder))
    lines += [embedding_row(experiment_of("model=cnn")), crowded_row()]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
