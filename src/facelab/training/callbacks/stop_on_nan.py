"""Stop a run whose loss is no longer a number."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from facelab.errors import TrainingError
from facelab.models.base import FaceModule


class StopOnNaN(pl.Callback):
    """Ends the run before a loss that is NaN or infinite reaches the weights.

    On a CPU that is in the very step. On a GPU the flag travels beside the computation, without making the host wait,
    and is seen a step later, as soon as it has arrived.
    """

    def __init__(self) -> None:
        self._bad: Tensor | None = None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Look at the loss, or at the flag of the step before."""
        bad = torch.isfinite(loss.detach()).logical_not()
        if loss.device.type == "cpu":
            self._bad = bad
            self._raise_if_bad(pl_module)
            return
        if self._bad is None:
            self._bad = torch.zeros((), dtype=torch.bool, pin_memory=True)
        self._raise_if_bad(pl_module)
        self._bad.copy_(bad, non_blocking=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look a last time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._raise_if_bad(pl_module)

    def _raise_if_bad(self, module: Any) -> None:
        if self._bad is not None and bool(self._bad):
            assert isinstance(module, FaceModule)
            raise TrainingError(
                f"the loss became NaN or infinite after {module.images_seen:,} images. Lower the learning rate of "
                f"{module.optimizer_keys}, or try trainer.precision=32-true."
            )
