"""Fit a model once to all training images, and validate it."""

import time

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor

from facelab.data.module import FaceDataModule
from facelab.models.base import FittedModule, to_float
from facelab.system import progress
from facelab.training.callbacks.images_seen import ImagesSeen


def fit_once(
    module: FittedModule, data: FaceDataModule, trainer: pl.Trainer, clock: ImagesSeen, console: Console
) -> list[str]:
    """Read the training images, fit the model to them, and compute its validation metrics.

    Args:
        module: the model.
        data: its images.
        trainer: validates.
        clock: takes the seconds of the fit.
        console: takes the note.

    Returns:
        Notes for the user.
    """
    began = time.perf_counter()
    note = module.fit(*_training_images(data), progress)
    module.images_seen = len(data.order.indices)
    if len(data.splits.val):
        trainer.validate(module, dataloaders=data.val_dataloader(), verbose=False)
    clock.seconds = time.perf_counter() - began
    if note is None:
        return []
    console.print(f"Note: {note}", highlight=False, soft_wrap=True)
    return [note]


def _training_images(data: FaceDataModule) -> tuple[Tensor, Tensor]:
    """All training images (N, C, H, W) float in [-1, 1], without augmentation, and their labels (N,)."""
    total, done = len(data.order.indices), 0
    images, labels = torch.empty(total, *data.faces.image_shape), torch.empty(total, dtype=torch.int64)
    with progress("training images read", total) as advance:
        for batch in data.training_images():
            part = slice(done, done + len(batch["label"]))
            images[part], labels[part] = to_float(batch["image"]), batch["label"]
            done = part.stop
            for _ in batch["label"]:
                advance()
    return images, labels
