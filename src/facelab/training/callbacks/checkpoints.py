"""Save checkpoints during training."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as distributed

from facelab.errors import Interrupted
from facelab.models.base import FaceModule
from facelab.training.checkpoint import checkpoint_path
from facelab.training.interrupt import StopRequest

_SYNC_RANKS_EVERY_S = 1.0


class Checkpoints(pl.Callback):
    """Saves checkpoints at regular intervals, before stopping on request, and after the last step.

    Must come last among the callbacks, so that all others have finished the step.

    Args:
        folder: the folder for the files.
        every_s: seconds between checkpoints.
        total_images: length of the run in images seen.
        config: the run's config, saved in each checkpoint.
        stop: the request to stop, checked after every step.
    """

    def __init__(
        self, folder: Path, every_s: float, total_images: int, config: Mapping[str, Any], stop: StopRequest
    ) -> None:
        self._folder, self._every_s, self._total_images = folder, every_s, total_images
        self._config, self._stop = dict(config), stop
        self._last_save = self._last_sync = 0.0
        self._steps_until_sync = self._sync_every = 1
        self._after_validation = False

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handlers."""
        self._stop.install()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handlers and start the clock.

        This replaces Lightning's own SIGTERM handler, registered after `on_fit_start`, which would raise SystemExit
        between two steps and, under DDP, make a collective call inside the handler.
        """
        self._stop.install()
        self._last_save = self._last_sync = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save or stop if due; if a validation follows this step, wait for its end."""
        if trainer.limit_val_batches and (batch_idx + 1) % float(trainer.val_check_batch or "inf") == 0:
            self._after_validation = True  # resuming from here would skip this step's validation
        else:
            self._act(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save or stop if it was due before the validation."""
        if self._after_validation:
            self._after_validation = False
            self._act(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the run's config."""
        checkpoint["config"] = self._config

    def _act(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, FaceModule)
        now = time.monotonic()
        stop, due = self._agree(trainer, now)
        if stop or due or module.images_seen >= self._total_images:
            trainer.save_checkpoint(checkpoint_path(self._folder, module.images_seen))
            self._last_save = time.monotonic()
        if stop:
            raise Interrupted

    def _agree(self, trainer: pl.Trainer, now: float) -> tuple[bool, bool]:
        """Whether to stop and whether to save, the same on all ranks in the same step."""
        stop, due = self._stop.requested, now - self._last_save >= self._every_s
        if trainer.world_size == 1:
            return stop, due
        # Ranks communicate about once a second: waiting for the device in every step would be slow.
        self._steps_until_sync -= 1
        if self._steps_until_sync:
            return False, False
        step_s = max((now - self._last_sync) / self._sync_every, 1e-3)
        flags = torch.tensor([stop, due, _SYNC_RANKS_EVERY_S / step_s], device=trainer.strategy.root_device)
        distributed.all_reduce(flags, op=distributed.ReduceOp.MAX)
        stop_all, due_all, steps = flags.tolist()
        self._steps_until_sync = self._sync_every = max(1, int(steps))
        self._last_sync = now
        return bool(stop_all), bool(due_all)
