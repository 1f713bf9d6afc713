"""Warn when the discriminator of adversarial training tells all generated images from real ones."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from facelab.models.adversarial import AdversarialModule

WINDOW_STEPS = 200
_SHARE = 0.1  # of the loss of a discriminator that cannot tell; stable runs stay above 0.4, diverged ones fall to 0.03


class DiscriminatorWon(pl.Callback):
    """Warns once if the mean loss of the discriminator over 200 steps is below a tenth of that of an undecided one.

    The generator of such a run hardly learns: the gradient of its loss vanishes (Arjovsky and Bottou, "Towards
    Principled Methods for Training Generative Adversarial Networks", 2017, section 2). Losses without such a value, as
    Wasserstein's, and models without a discriminator are not checked.

    Args:
        warn: called with the sentence.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._sum: Tensor | float = 0.0
        self._steps = 0
        self.remark: str | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a step's loss, and look at the mean of a full window."""
        if self.remark is not None or not isinstance(pl_module, AdversarialModule):
            return
        loss: Tensor = outputs["terms"]["discriminator_loss"]
        self._sum, self._steps = loss.detach() + self._sum, self._steps + 1
        if self._steps < WINDOW_STEPS:
            return
        mean, undecided = float(self._sum) / self._steps, pl_module.undecided_loss
        self._sum, self._steps = 0.0, 0
        if mean < _SHARE * undecided:
            self.remark = (
                f"The discriminator has won after {pl_module.images_seen:,} images: it tells nearly all generated "
                f"images from real ones (its loss is {mean:.3f}; {undecided:.3f} if it told none), so the generator "
                f"learns little. Halve lr in {pl_module.optimizer_keys}."
            )
            self._warn(self.remark)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: the window so far, and what was said."""
        return {"sum": float(self._sum), "steps": self._steps, "remark": self.remark}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._sum, self._steps, self.remark = state_dict["sum"], state_dict["steps"], state_dict["remark"]
