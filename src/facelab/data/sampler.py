"""Samplers: the images of a step are a pure function of the seed and the number of images seen."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from facelab.data.order import Draw, Order


class EndlessBatchSampler(Sampler[list[Draw]]):
    """Batches of (epoch, index) that continue across epochs.

    The sampler is stateless: a run can resume from any number of images seen, and each rank takes positions rank,
    rank + world_size, ... of every batch.

    Args:
        order: of the training images.
        total_images: length of the run in images seen; the last batch is full.
        start_images: images seen before; iteration starts there.
        rank: of this process.
        world_size: number of processes.

    Raises:
        ValueError: the order's `batch_size` is not a multiple of `world_size`.
    """

    def __init__(
        self, order: Order, total_images: int, start_images: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        if order.batch_size % world_size:
            raise ValueError(f"batch_size must be a multiple of the {world_size} processes, got {order.batch_size}")
        self.order = order
        self.total_batches = -(-total_images // order.batch_size)
        self.start_batch = start_images // order.batch_size
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        """Number of batches of the whole run, including those before `start_images`."""
        return self.total_batches

    def __iter__(self) -> Iterator[list[Draw]]:
        """Batches from `start_images` on."""
        for number in range(self.start_batch, self.total_batches):
            yield self.order.batch(number)[self.rank :: self.world_size]


class EvaluationSampler(Sampler[Draw]):
    """Every image once, distributed over the ranks in strides.

    Collective operations need equally many images on all ranks, so the last ranks may repeat an image. Drop repeated
    indices when gathering results.

    Args:
        indices: (N,) of the images.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, indices: NDArray[np.int64], rank: int = 0, world_size: int = 1) -> None:
        padded = np.resize(indices, -(-len(indices) // world_size) * world_size)
        self.share = padded[rank::world_size]

    def __len__(self) -> int:
        return len(self.share)

    def __iter__(self) -> Iterator[Draw]:
        """Pairs (0, index); without augmentation the epoch does not matter."""
        return ((0, int(index)) for index in self.share)
