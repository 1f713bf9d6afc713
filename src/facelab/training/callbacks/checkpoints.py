"""Saving the whole state of training."""

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

_ASK_RANKS_EVERY_S = 1.0


class Checkpoints(pl.Callback):
    """Saves when time is up, when a stop is requested (and then stops), and after the last step.

    Must come last among the callbacks, so that all others have finished their step.

    Args:
        folder: for the files.
        every_s: seconds between two.
        total_images: length of the run.
        config: of the run, kept inside.
        stop: asked after every step.
    """

    def __init__(
        self, folder: Path, every_s: float, total_images: int, config: Mapping[str, Any], stop: StopRequest
    ) -> None:
        self._folder, self._every_s, self._total_images = folder, every_s, total_images
        self._config, self._stop = dict(config), stop
        self._last_save = self._last_ask = 0.0
        self._steps_until_asking = self._asking_every = 1
        self._held_back = False

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As in training."""
        self._stop.install()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back, and start the clock.

        Lightning registers its own handler of SIGTERM after `on_fit_start`. It would end the run between two steps by
        a SystemExit, and under DDP make a collective call inside the handler.
        """
        self._stop.install()
        self._last_save = self._last_ask = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After each step."""
        if trainer.limit_val_batches and (batch_idx + 1) % float(trainer.val_check_batch or "inf") == 0:
            self._held_back = True  # a run that goes on from here would leave this step's validation out
        else:
            self._act(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After a validation."""
        if self._held_back:
            self._held_back = False
            self._act(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say whose state it is."""
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
        """Whether to stop and whether to save. All ranks must answer alike, in the same step."""
        stop, due = self._stop.requested, now - self._last_save >= self._every_s
        if trainer.world_size == 1:
            return stop, due
        # Ranks tell each other about once a second: a wait for the device in every step would cost more.
        self._steps_until_asking -= 1
        if self._steps_until_asking:
            return False, False
        step_s = max((now - self._last_ask) / self._asking_every, 1e-3)
        said = torch.tensor([stop, due, _ASK_RANKS_EVERY_S / step_s], device=trainer.strategy.root_device)
        distributed.all_reduce(said, op=distributed.ReduceOp.MAX)
        stop_all, due_all, steps = said.tolist()
        self._steps_until_asking = self._asking_every = max(1, int(steps))
        self._last_ask = now
        return bool(stop_all), bool(due_all)
