"""The one clock of a run: images seen."""

from typing import Any

import pytorch_lightning as pl
import torch

from facelab.models.base import FaceModule


class ImagesSeen(pl.Callback):
    """Counts images, sets the learning rates by the recipe's schedule, and reseeds the random numbers of every step.

    Lightning's own `global_step` counts every optimiser, so a GAN's would run twice as fast. Must come first among the
    callbacks: the others read `module.images_seen`.

    Args:
        total_images: length of the run.
        seed: of the run.
    """

    def __init__(self, total_images: int, seed: int) -> None:
        self.total_images, self.seed = total_images, seed
        self._base_rates: list[list[float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the configured learning rates."""
        self._base_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in trainer.optimizers]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before each step."""
        assert isinstance(pl_module, FaceModule)
        seen = pl_module.images_seen
        # Dropout and the like become a function of (seed, images seen, rank), so that nothing need be saved to resume.
        step_seed = (self.seed * 1_000_003 + seen) * 1_009 + trainer.global_rank
        torch.default_generator.manual_seed(step_seed)
        if pl_module.device.type == "cuda":
            torch.cuda.manual_seed(step_seed)
        factor = pl_module.recipe.schedule.factor(seen, self.total_images)
        for optimizer, rates in zip(trainer.optimizers, self._base_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After each step."""
        assert isinstance(pl_module, FaceModule)
        pl_module.images_seen += pl_module.recipe.batch_size
