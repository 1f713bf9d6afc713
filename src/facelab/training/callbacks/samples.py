"""Record sample grids during training, always of the same faces or latents."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.models.base import FaceModule, to_float, to_uint8
from facelab.training.callbacks.averaging import ExponentialMovingAverage
from facelab.training.callbacks.images_seen import is_due

TIMES = 10  # per run


class Samples(pl.Callback):
    """Records a module's sample grids ten times per run, evenly spaced, with the averaged weights if there are any.

    Must come after the averaging callback and before the checkpoints.

    Args:
        record: called with a name, a grid (rows, columns, H, W, C) uint8, and the images seen.
        faces: (N, C, H, W) uint8, passed to the module each time.
        total_images: length of the run in images seen.
        averaging: the callback that holds averaged weights; None if there are none.
    """

    def __init__(
        self,
        record: Callable[[str, NDArray[np.uint8], int], None],
        faces: Tensor,
        total_images: int,
        averaging: ExponentialMovingAverage | None,
    ) -> None:
        self._record, self._faces, self._total_images, self._averaging = record, faces, total_images, averaging

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the grids if they are due."""
        assert isinstance(pl_module, FaceModule)
        seen = pl_module.images_seen
        due = is_due(seen, pl_module.recipe.batch_size, self._total_images, TIMES)
        if not due or trainer.global_rank > 0:
            return
        if self._averaging is None:
            grids = shown(pl_module, pl_module.sample_grids, self._faces)
        else:
            with self._averaging.averaged(pl_module):
                grids = shown(pl_module, pl_module.sample_grids, self._faces)
        for name, grid in grids.items():
            self._record(name, grid, seen)


def shown(
    module: FaceModule, sample_grids: Callable[[Tensor], dict[str, Tensor]], faces: Tensor
) -> dict[str, NDArray[np.uint8]]:
    """Compute sample grids of a module in evaluation mode, without gradients, in float32.

    Args:
        module: on any device.
        sample_grids: its method `sample_grids` or `final_sample_grids`.
        faces: (N, C, H, W) uint8.

    Returns:
        Grids (rows, columns, H, W, C) uint8 by name.
    """
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), torch.autocast(module.device.type, enabled=False):
            grids = sample_grids(to_float(faces.to(module.device)))
        return {name: to_uint8(grid) for name, grid in grids.items()}
    finally:
        module.train(training)
