"""The one clock of a run: images seen."""

import time
from typing import Any

import pytorch_lightning as pl
import torch

from facelab.models.base import FaceModule


class ImagesSeen(pl.Callback):
    """Counts images and seconds, sets the learning rates by the recipe's schedule, reseeds before every step.

    Lightning's own `global_step` counts every optimiser, so a GAN's would run twice as fast. Must come first among the
    callbacks: the others read `module.images_seen`.

    Args:
        total_images: length of the run.
        seed: of the run.
    """

    def __init__(self, total_images: int, seed: int) -> None:
        self.total_images, self.seed = total_images, seed
        self.seconds = 0.0  # spent in training and validation, over all parts of an interrupted run
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and remember the configured learning rates, in the place where checkpoints keep them."""
        self._since = time.perf_counter()
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before each step."""
        assert isinstance(pl_module, FaceModule)
        seen = pl_module.images_seen
        # Dropout and the like become a function of (seed, images seen, rank), so that nothing need be saved to resume.
        pl_module.step_seed = (self.seed * 1_000_003 + seen) * 1_009
        step_seed = pl_module.step_seed + trainer.global_rank
        torch.default_generator.manual_seed(step_seed)
        if pl_module.device.type == "cuda":
            torch.cuda.manual_seed(step_seed)
        factor = pl_module.recipe.schedule.factor(seen, self.total_images)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After each step."""
        assert isinstance(pl_module, FaceModule)
        pl_module.images_seen += pl_module.recipe.batch_size

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._count_seconds()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        self._count_seconds()
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.seconds = state_dict["seconds"]

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now
