"""Fit a model once to all training images, and validate it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from facelab.data.module import FaceDataModule
from facelab.models import base
from facelab.models.base import FittedModule, to_float
from facelab.system import duration
from facelab.training.callbacks.images_seen import ImagesSeen

_REPORT_S = 10.0


def fit_once(
    module: FittedModule, data: FaceDataModule, trainer: pl.Trainer, clock: ImagesSeen, console: Console
) -> list[str]:
    """Read the training images, fit the model to them, and compute its validation metrics.

    Args:
        module: the model.
        data: its images.
        trainer: validates.
        clock: takes the seconds of the fit.
        console: shows progress: a bar in a terminal, else a line every ten seconds.

    Returns:
        Notes for the user.
    """
    began = time.perf_counter()
    with _progress(console) as report:
        note = module.fit(*_training_images(data, report), report)
    module.images_seen = len(data.order.indices)
    if len(data.splits.val):
        trainer.validate(module, dataloaders=data.val_dataloader(), verbose=False)
    clock.seconds = time.perf_counter() - began
    if note is None:
        return []
    console.print(f"Note: {note}", highlight=False, soft_wrap=True)
    return [note]


def _training_images(data: FaceDataModule, report: base.Progress) -> tuple[Tensor, Tensor]:
    """All training images (N, C, H, W) float in [-1, 1], without augmentation, and their labels (N,)."""
    total, done = len(data.order.indices), 0
    images, labels = torch.empty(total, *data.faces.image_shape), torch.empty(total, dtype=torch.int64)
    for batch in data.training_images():
        part = slice(done, done + len(batch["label"]))
        images[part], labels[part] = to_float(batch["image"]), batch["label"]
        done = part.stop
        report("images", done, total)
    return images, labels


@contextmanager
def _progress(console: Console) -> Iterator[base.Progress]:
    """Show what is done and the time left."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description} ·"), TimeElapsedColumn())
    eta = (TextColumn("ETA"), TimeRemainingColumn())
    bar = Progress(TextColumn("fitting"), *columns, *eta, console=console, transient=True)
    bar.disable = not console.is_terminal
    task = bar.add_task("images", total=None)
    began: dict[str, float] = {}
    next_line = time.monotonic() + _REPORT_S

    def report(counted: str, done: int, total: int) -> None:
        nonlocal next_line
        now = time.monotonic()
        if counted not in began:
            bar.reset(task, description=counted)
        since = began.setdefault(counted, now)
        bar.update(task, completed=done, total=total)
        if not console.is_terminal and now >= next_line:
            next_line = now + _REPORT_S
            left = duration((now - since) / done * (total - done))
            console.print(f"{done:>9,} of {total:,} {counted}  ETA {left}", highlight=False, soft_wrap=True)

    with bar:
        yield report
