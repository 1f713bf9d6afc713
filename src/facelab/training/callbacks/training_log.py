"""Log training values to the tracker."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from facelab.models.base import FaceModule

Record = Callable[[Mapping[str, float], int], None]

LOG_EVERY_STEPS = 20


class TrainingLog(pl.Callback):
    """Averages the terms of training steps on the device and records them every 20 steps, with learning rate and speed.

    Nothing is copied from the device in between: calling Lightning's `self.log` in every step would cost more than a
    small step itself.

    Args:
        record: called with values by name and the images seen.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}  # per term, since a lazily applied penalty is not in every step
        self._steps = 0
        self._restored = 0  # of these steps, those before an interruption, which the clock has not seen
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and move what a checkpoint has restored, on the CPU, to the device of the terms to come."""
        self._sums = {name: total.to(pl_module.device) for name, total in self._sums.items()}
        self._restored, self._since = self._steps, time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a step's terms."""
        for name, term in outputs["terms"].items():
            self._sums[name] = self._sums[name] + term if name in self._sums else term
            self._counts[name] = self._counts.get(name, 0) + 1
        self._steps += 1
        if self._steps >= LOG_EVERY_STEPS:
            self._flush(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the remaining steps."""
        self._flush(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the steps so far, so that validation does not count as training time."""
        self._flush(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock again."""
        self._since = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: the sums not yet recorded."""
        return {"sums": dict(self._sums), "counts": dict(self._counts), "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._sums, self._counts = dict(state_dict["sums"]), dict(state_dict["counts"])
        self._steps = state_dict["steps"]

    def _flush(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self._steps:
            return
        assert isinstance(module, FaceModule)
        sums = torch.stack([total.float() for total in self._sums.values()]).tolist()
        seconds = time.perf_counter() - self._since
        metrics = {f"train/{name}": total / self._counts[name] for name, total in zip(self._sums, sums, strict=True)}
        if timed := self._steps - self._restored:
            metrics["train/images_per_second"] = timed * module.recipe.batch_size / seconds
        for number, optimizer in enumerate(trainer.optimizers):
            name = "train/learning_rate" if len(trainer.optimizers) == 1 else f"train/learning_rate_{number}"
            metrics[name] = max(group["lr"] for group in optimizer.param_groups)  # with layer_decay, that of the head
        self._record(metrics, module.images_seen)
        self._sums, self._counts, self._steps, self._restored = {}, {}, 0, 0
        self._since = time.perf_counter()
