"""Count images seen, which times everything in a run."""

import time
from typing import Any

import pytorch_lightning as pl
import torch

from facelab.models.base import FaceModule


def is_due(seen: int, step: int, total: int, times: int) -> bool:
    """Whether something that happens so many times per run, evenly spaced and the last time at its end, is due.

    Args:
        seen: images seen, or steps, after a step.
        step: how many this step added.
        total: length of the run in the same unit.
        times: how often it happens; at every step if there are fewer.
    """
    return seen * times // total > (seen - step) * times // total


class ImagesSeen(pl.Callback):
    """Counts images and seconds, applies the learning rate schedule, and seeds every step.

    Lightning's `global_step` counts the steps of every optimiser, twice as many for a GAN. Must come first among the
    callbacks, since the others read `module.images_seen`.

    Args:
        total_images: length of the run in images seen.
        seed: the run's seed.
    """

    def __init__(self, total_images: int, seed: int) -> None:
        self.total_images, self.seed = total_images, seed
        self.seconds = 0.0  # of training and validation, including those before an interruption
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and keep the configured learning rates in the optimiser state, which checkpoints save."""
        self._since = time.perf_counter()
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the step and set its learning rates."""
        assert isinstance(pl_module, FaceModule)
        seen = pl_module.images_seen
        # Random numbers depend only on (seed, images seen, rank), so that checkpoints need no generator state.
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
        """Count the batch."""
        assert isinstance(pl_module, FaceModule)
        pl_module.images_seen += pl_module.recipe.batch_size

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._count_seconds()

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: the seconds so far."""
        self._count_seconds()
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.seconds = state_dict["seconds"]

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now
