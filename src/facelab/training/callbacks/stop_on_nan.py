"""Stop a run whose loss is NaN or infinite."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from facelab.errors import TrainingError
from facelab.models.base import FaceModule


class StopOnNaN(pl.Callback):
    """Raises `TrainingError` if the loss becomes NaN or infinite, before the weights are validated or saved.

    On a CPU, the error is raised before the loss reaches the weights. On a GPU, a flag is copied asynchronously, so
    that the host does not wait; the error is raised in a later step, but no later than the next validation or
    checkpoint, which wait for the flag.
    """

    def __init__(self) -> None:
        self._ever_bad: Tensor | None = None  # on the device of the loss
        self._bad: Tensor | None = None  # its copy for the host

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Check the loss, or on a GPU the flag of earlier steps."""
        bad = torch.isfinite(loss.detach()).logical_not()
        self._ever_bad = bad if self._ever_bad is None else self._ever_bad | bad
        if loss.device.type == "cpu":
            self._bad = self._ever_bad
            self._raise_if_bad(pl_module)
            return
        if self._bad is None:
            self._bad = torch.zeros((), dtype=torch.bool, pin_memory=True)
        self._raise_if_bad(pl_module)
        self._bad.copy_(self._ever_bad, non_blocking=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the steps before a validation."""
        self._wait_and_check(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the steps before a checkpoint is written."""
        self._wait_and_check(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the last step."""
        self._wait_and_check(pl_module)

    def _wait_and_check(self, module: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._raise_if_bad(module)

    def _raise_if_bad(self, module: Any) -> None:
        if self._bad is not None and bool(self._bad):
            assert isinstance(module, FaceModule)
            raise TrainingError(
                f"the loss became NaN or infinite after {module.images_seen:,} images. Lower lr in "
                f"{module.optimizer_keys}, or set trainer.precision=32-true."
            )
