"""Averaged weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class ExponentialMovingAverage(WeightAveraging):
    """Keeps an exponential moving average of the weights; validation and the end of training use it.

    The decay of a step of B images is 0.5 ** (B / half_life) (Karras et al., "Analyzing and Improving the Training
    Dynamics of Diffusion Models", 2024, section 3). Early on it is held at (1 + n) / (10 + n) after n steps, so that
    the random initial weights are forgotten. Batch-norm statistics are copied, not averaged.

    Args:
        half_life_images: after so many images a step's weights count half.
        batch_size: B, images a step.
    """

    def __init__(self, half_life_images: int, batch_size: int) -> None:

        def update(averages: Sequence[Tensor], currents: Sequence[Tensor], steps: Tensor | int) -> None:
            weight = 1 - ema_decay(int(steps), half_life_images, batch_size)
            torch._foreach_lerp_(list(averages), list(currents), weight)

        super().__init__(use_buffers=False, multi_avg_fn=update)

    @contextmanager
    def averaged(self, module: pl.LightningModule) -> Iterator[None]:
        """Within the block the module has the averaged weights, as in validation."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)


def ema_decay(steps: int, half_life_images: int, batch_size: int) -> float:
    """What the average keeps of itself after so many steps, in (0, 1).

    Args:
        steps: taken before this one.
        half_life_images: after so many images a step's weights count half.
        batch_size: images a step.
    """
    decay: float = 0.5 ** (batch_size / half_life_images)
    return min(decay, (1 + steps) / (10 + steps))
