"""The LightningDataModule that delivers face batches."""

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from typing import Any, NotRequired, TypedDict

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from facelab.data.augment import Augmentation
from facelab.data.faces import FaceSet
from facelab.data.sampler import Draw, EndlessBatchSampler, EvaluationSampler
from facelab.data.split import Splits

EVALUATION_BATCH_SIZE = 256


class Sample(TypedDict):
    """One picture: `image` (C, H, W) uint8, `original` the same before augmentation, the rest scalar int64.

    Batches hold the same with N in front.
    """

    image: Tensor
    original: NotRequired[Tensor]
    label: Tensor
    identity: Tensor
    index: Tensor


class FaceDataset(Dataset[Sample]):
    """Pictures by (epoch, index), augmented if asked.

    Args:
        faces: the set.
        augmentation: applied to every picture; None to show them as they are.
        seed: of the run, for the augmentation.
        with_originals: whether each picture also comes as it is.
    """

    def __init__(
        self, faces: FaceSet, augmentation: Augmentation | None, seed: int, with_originals: bool = False
    ) -> None:
        self.faces, self.augmentation, self.seed = faces, augmentation, seed
        self.with_originals = with_originals

    def __getitem__(self, draw: Draw) -> Sample:
        """The picture `index` as it is shown in `epoch`."""
        epoch, index = draw
        image = original = self.faces.pixels[index]
        if self.augmentation is not None:
            image = self.augmentation(image, self.seed, epoch, index)
        sample: Sample = {
            "image": _channels_first(image),
            "label": torch.tensor(self.faces.labels[index]),
            "identity": torch.tensor(self.faces.identities[index]),
            "index": torch.tensor(index),
        }
        if self.with_originals:
            sample["original"] = _channels_first(original)
        return sample


class _TensorLoader(DataLoader[Sample]):
    """Batches come from the workers as arrays, through pipes, and leave here as tensors.

    torch would put tensors into shared memory (64 MB in a container of Docker's) and send their handles through sockets
    (whose paths cannot be as long as some TMPDIR). Pipes have neither limit, and are not slower for batches of images.
    """

    def __iter__(self) -> Iterator[Sample]:  # type: ignore[override]
        for batch in super().__iter__():
            tensors: Sample = {name: torch.from_numpy(values) for name, values in batch.items()}  # type: ignore
            yield tensors


class FaceDataModule(pl.LightningDataModule):
    """Training batches without end, and validation and test pictures each once, on every rank its share.

    Args:
        faces: the set.
        parts: its split.
        augmentation: for training pictures.
        batch_size: training pictures a step, over all ranks together.
        total_images: length of the run in images seen.
        seed: of the run.
        workers: loader processes; the pictures do not depend on it.
        with_originals: whether training pictures also come as they were before augmentation.
    """

    def __init__(
        self,
        faces: FaceSet,
        splits: Splits,
        augmentation: Augmentation,
        batch_size: int,
        total_images: int,
        seed: int,
        workers: int,
        with_originals: bool = False,
    ) -> None:
        super().__init__()
        self.faces, self.splits, self.augmentation = faces, splits, augmentation
        self.batch_size, self.total_images = batch_size, total_images
        self.seed, self.workers, self.with_originals = seed, workers, with_originals

    def train_dataloader(self) -> DataLoader[Sample]:
        """Augmented batches, from where the module's count of images stands to the end of the run."""
        rank, world_size = self._place()
        start_images = int(self.trainer.lightning_module.images_seen) if self.trainer else 0  # type: ignore[arg-type]
        sampler = EndlessBatchSampler(
            self.splits.train, self.batch_size, self.total_images, self.seed, start_images, rank, world_size
        )
        workers = self.workers if _can_start_workers(rank, self.workers) else 0
        return _TensorLoader(
            FaceDataset(self.faces, self.augmentation, self.seed, self.with_originals),
            batch_sampler=sampler,
            num_workers=workers,
            worker_init_fn=_begin_worker,
            collate_fn=_as_arrays,
            prefetch_factor=4 if workers else None,
        )

    def first_batch(self) -> Sample:
        """The run's first training pictures, as the model will see them."""
        sampler = EndlessBatchSampler(self.splits.train, self.batch_size, self.total_images, self.seed)
        dataset = FaceDataset(self.faces, self.augmentation, self.seed)
        batch: Sample = default_collate([dataset[draw] for draw in next(iter(sampler))])
        return batch

    def val_dataloader(self) -> DataLoader[Sample] | list[DataLoader[Sample]]:
        """The validation pictures; an empty list where the split has none."""
        return self.evaluation_loader(self.splits.val) if len(self.splits.val) else []

    def evaluation_loader(self, indices: NDArray[np.int64]) -> DataLoader[Sample]:
        """Pictures as they are, in order, each once over all ranks but for padding."""
        rank, world_size = self._place()
        return DataLoader(
            FaceDataset(self.faces, None, self.seed),
            batch_size=EVALUATION_BATCH_SIZE,
            sampler=EvaluationSampler(indices, rank, world_size),
        )

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def _channels_first(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _as_arrays(samples: list[Sample]) -> dict[str, NDArray[Any]]:
    """As torch's default collation joins them, in arrays of this process alone."""
    return {name: np.stack([sample[name].numpy() for sample in samples]) for name in samples[0]}  # type: ignore


def _can_start_workers(rank: int, wanted: int) -> bool:
    """Whether this machine has the semaphores that loader processes need; Linux keeps them in /dev/shm."""
    if not wanted:
        return True
    try:
        multiprocessing.get_context().Lock()
    except (OSError, ImportError) as error:
        if rank == 0:
            print(
                f"Note: loader processes cannot be started here ({error}; is /dev/shm there, writable and not full?). "
                "Images are loaded in the training process, as with runtime.workers=0: slower, with the same results.",
                file=sys.stderr,
                flush=True,
            )
        return False
    return True


def _begin_worker(_worker: int) -> None:
    """Use one thread, since training threads run beside it, and leave signals to the process that trains: one to the
    whole group, as of `timeout` or SLURM, must not end a worker before the step that waits for it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
