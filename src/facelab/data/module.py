"""LightningDataModule for face sets."""

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
    """One sample: `image` (C, H, W) uint8, `original` the image before augmentation, the others scalar int64.

    Batches have a leading dimension N.
    """

    image: Tensor
    original: NotRequired[Tensor]
    label: Tensor
    identity: Tensor
    index: Tensor


class FaceDataset(Dataset[Sample]):
    """Dataset of face images by (epoch, index), optionally augmented.

    Args:
        faces: the face set.
        augmentation: applied to every image; None for no augmentation.
        seed: of the run, for the augmentation.
        with_originals: whether samples also hold the image before augmentation.
    """

    def __init__(
        self, faces: FaceSet, augmentation: Augmentation | None, seed: int, with_originals: bool = False
    ) -> None:
        self.faces, self.augmentation, self.seed = faces, augmentation, seed
        self.with_originals = with_originals

    def __getitem__(self, draw: Draw) -> Sample:
        """Image `index` with its augmentation for `epoch`."""
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
    """DataLoader whose workers send batches as arrays through pipes; it converts them to tensors.

    torch would put tensors into shared memory (64 MB in a Docker container) and send their handles through sockets
    (whose path length some TMPDIR exceed). Pipes have neither limit, and are not slower for batches of images.
    """

    def __iter__(self) -> Iterator[Sample]:  # type: ignore[override]
        for batch in super().__iter__():
            tensors: Sample = {name: torch.from_numpy(values) for name, values in batch.items()}  # type: ignore
            yield tensors


class FaceDataModule(pl.LightningDataModule):
    """Loaders for training batches across epochs, and for one pass over validation or test images; each per rank.

    Args:
        faces: the face set.
        splits: its train, val and test indices.
        augmentation: for training images.
        batch_size: training images per step, over all ranks together.
        total_images: length of the run in images seen.
        seed: of the run.
        workers: number of loader processes; it does not affect the batches.
        with_originals: whether training samples also hold the image before augmentation.
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
        """Augmented batches from `lightning_module.images_seen` to the end of the run."""
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
        """First training batch of the run, augmented."""
        sampler = EndlessBatchSampler(self.splits.train, self.batch_size, self.total_images, self.seed)
        dataset = FaceDataset(self.faces, self.augmentation, self.seed)
        batch: Sample = default_collate([dataset[draw] for draw in next(iter(sampler))])
        return batch

    def val_dataloader(self) -> DataLoader[Sample] | list[DataLoader[Sample]]:
        """Loader of the validation images; an empty list if the split has none."""
        return self.evaluation_loader(self.splits.val) if len(self.splits.val) else []

    def evaluation_loader(self, indices: NDArray[np.int64]) -> DataLoader[Sample]:
        """Loader of images without augmentation, in order, each once over all ranks except for padding."""
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
    """Collate samples as torch's default does, into NumPy arrays."""
    return {name: np.stack([sample[name].numpy() for sample in samples]) for name in samples[0]}  # type: ignore


def _can_start_workers(rank: int, wanted: int) -> bool:
    """Whether loader processes can start: they need semaphores, which Linux keeps in /dev/shm."""
    if not wanted:
        return True
    try:
        multiprocessing.get_context().Lock()
    except (OSError, ImportError) as error:
        if rank == 0:
            print(
                f"Note: cannot start loader processes ({error}). Does /dev/shm exist, is it writable and not full? "
                "Images are loaded in the training process, as with runtime.workers=0: slower, with the same results.",
                file=sys.stderr,
                flush=True,
            )
        return False
    return True


def _begin_worker(_worker: int) -> None:
    """Limit a loader worker to one thread, so that it does not compete with the training threads, and make it ignore
    signals to the whole process group, which the training process handles after its step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
