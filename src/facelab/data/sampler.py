"""Which pictures come when: pure functions of the seed and the number of images seen."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Draw = tuple[int, int]  # (epoch, index)


class EndlessBatchSampler(Sampler[list[Draw]]):
    """Batches of (epoch, index), epoch after epoch without a seam; a batch may be larger than the set.

    Position p of the run shows picture `permutation(seed, epoch)[p % N]` with epoch = p // N. Nothing is remembered,
    so a run goes on from any number of images seen, and every rank knows its share: positions rank, rank + world_size,
    ... of each batch.

    Args:
        indices: (N,) numbers of the training pictures.
        batch_size: pictures a step, over all ranks together.
        total_images: where the run ends, in images seen; the last batch is full.
        seed: of the run.
        start_images: images seen before; iteration goes on from there.
        rank: of this process.
        world_size: number of processes.

    Raises:
        ValueError: the batch cannot be shared evenly by the ranks.
    """

    def __init__(
        self,
        indices: NDArray[np.int64],
        batch_size: int,
        total_images: int,
        seed: int,
        start_images: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size % world_size:
            raise ValueError(f"a batch of {batch_size} pictures cannot be shared evenly by {world_size} processes")
        self.indices, self.batch_size, self.seed = indices, batch_size, seed
        self.total_batches = -(-total_images // batch_size)
        self.start_batch = start_images // batch_size
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        """Batches of the whole run, those before `start_images` included."""
        return self.total_batches

    def __iter__(self) -> Iterator[list[Draw]]:
        """Batches from `start_images` on."""
        epoch, order = -1, self.indices
        for batch in range(self.start_batch, self.total_batches):
            draws = []
            for position in range(batch * self.batch_size + self.rank, (batch + 1) * self.batch_size, self.world_size):
                if position // len(self.indices) != epoch:
                    epoch = position // len(self.indices)
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.indices)
                draws.append((epoch, int(order[position % len(self.indices)])))
            yield draws


class EvaluationSampler(Sampler[Draw]):
    """Every picture once, shared by the ranks in strides.

    All ranks get equally many, as collective operations need: the last ones may see a picture a second time, which
    whoever gathers the results drops by its index.

    Args:
        indices: (N,) numbers of pictures.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, indices: NDArray[np.int64], rank: int = 0, world_size: int = 1) -> None:
        padded = np.resize(indices, -(-len(indices) // world_size) * world_size)
        self.share = padded[rank::world_size]

    def __len__(self) -> int:
        return len(self.share)

    def __iter__(self) -> Iterator[Draw]:
        """(0, index) pairs: pictures are shown as they are, so the epoch does not matter."""
        return ((0, int(index)) for index in self.share)
