"""Weight averaging."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class ExponentialMovingAverage(WeightAveraging):
    """Keeps an exponential moving average (EMA) of the weights, for validation and the final model.

    The decay of a step of B images is 0.5 ** (B / half_life) (Karras et al., "Analyzing and Improving the Training
    Dynamics of Diffusion Models", 2024, section 3), and at most (1 + n) / (10 + n) after n steps, so that the
    average forgets the random initial weights. Batch-norm statistics are copied, not averaged.

    Args:
        half_life_images: number of images after which the contribution of a step's weights has halved.
        batch_size: B, images per step.
    """

    def __init__(self, half_life_images: int, batch_size: int) -> None:

        def update(averages: Sequence[Tensor], currents: Sequence[Tensor], steps: Tensor | int) -> None:
            weight = 1 - ema_decay(int(steps), half_life_images, batch_size)
            torch._foreach_lerp_(list(averages), list(currents), weight)

        super().__init__(use_buffers=False, multi_avg_fn=update)

    @contextmanager
    def averaged(self, module: pl.LightningModule) -> Iterator[None]:
        """Swap the averaged weights into the module within the block."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)


def ema_decay(steps: int, half_life_images: int, batch_size: int) -> float:
    """Decay of the average in one step, in (0, 1).

    Args:
        steps: number of steps before this one.
        half_life_images: number of images after which the contribution of a step's weights has halved.
        batch_size: images per step.
    """
    decay: float = 0.5 ** (batch_size / half_life_images)
    return min(decay, (1 + steps) / (10 + steps))
