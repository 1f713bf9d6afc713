"""LightningDataModule for face sets."""

import multiprocessing
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from multiprocessing.util import Finalize
from typing import Any, NotRequired, TypedDict, cast

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from facelab.data.augment import Augmentation
from facelab.data.faces import FaceSet
from facelab.data.order import Draw, Order
from facelab.data.sampler import EndlessBatchSampler, EvaluationSampler
from facelab.data.splits.base import Splits
from facelab.errors import DataError
from facelab.system import die_with_parent

EVALUATION_BATCH_SIZE = 256
# A job of a sweep comes from a fork server, and so would its loader workers: each would import everything again, which
# takes 7 s of a core.
_START_METHOD = "fork" if sys.platform == "linux" else None
Arrays = dict[str, NDArray[Any]]


class Sample(TypedDict):
    """A batch: `image` (N, C, H, W) uint8, `original` the images before augmentation, the others (N,) int64."""

    image: Tensor
    original: NotRequired[Tensor]
    label: Tensor
    identity: Tensor
    index: Tensor


class FaceDataset(Dataset[Arrays]):
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

    def __getitem__(self, draw: Draw) -> Arrays:
        """Image `index` with its augmentation for `epoch`.

        Returns:
            `image` (C, H, W) uint8; `original`, the same before augmentation, if configured; `label`, `identity` and
            `index`, scalar int64.
        """
        epoch, index = draw
        image = original = self.faces.pixels[index]
        if self.augmentation is not None:
            image = self.augmentation(image, self.seed, epoch, index)
        sample = {
            "image": image.transpose(2, 0, 1),
            "label": np.asarray(self.faces.labels[index]),
            "identity": np.asarray(self.faces.identities[index]),
            "index": np.asarray(index),
        }
        if self.with_originals:
            sample["original"] = original.transpose(2, 0, 1)
        return sample


class _TensorLoader(DataLoader[Sample]):
    """DataLoader of a `FaceDataset` whose workers send batches as arrays through pipes; it converts them to tensors.

    torch would put tensors into shared memory (64 MB in a Docker container) and send their handles through sockets
    (whose path length some TMPDIR exceed). Pipes have neither limit, and are not slower for batches of images.
    """

    _pass: Generator[Sample] | None = None  # the latest

    def __iter__(self) -> Iterator[Sample]:  # type: ignore[override]
        self._pass = self._read()
        return self._pass

    def _read(self) -> Generator[Sample]:
        said, batches, end = "", super().__iter__(), None
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            # An exiting process waits for its workers after sending SIGTERM, which these ignore. Before that, and
            # before it closes their queues (priority 10), it tells them to end.
            end = Finalize(None, batches._shutdown_workers, exitpriority=11)
        try:
            for batch in batches:
                yield _as_tensors(cast(Arrays, batch))
            return
        except DataError as error:  # from a worker, torch puts its traceback before the message
            said = str(error).rpartition(f"{DataError.__module__}.{DataError.__name__}: ")[2].strip()
        finally:
            if end is not None:
                end()  # as Lightning does: a traceback or a cycle may hold it
        raise DataError(said)

    def close(self) -> None:
        """End the latest pass and its workers."""
        if self._pass is not None:
            self._pass.close()


class FaceDataModule(pl.LightningDataModule):
    """Loaders for training batches across epochs, and for one pass over validation or test images; each per rank.

    Args:
        faces: the face set.
        splits: its train, val and test indices.
        augmentation: for training images.
        order: in which training images are drawn.
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
        order: Order,
        total_images: int,
        seed: int,
        workers: int,
        with_originals: bool = False,
    ) -> None:
        super().__init__()
        self.faces, self.splits, self.augmentation = faces, splits, augmentation
        self.training_faces = faces  # the order's indices are of this set, which may hold further, synthetic faces
        self.order, self.total_images = order, total_images
        self.seed, self.workers, self.with_originals = seed, workers, with_originals
        self._training: _TensorLoader | None = None

    def train_dataloader(self) -> DataLoader[Sample]:
        """Augmented batches from `lightning_module.images_seen` to the end of the run."""
        rank, world_size = self._place()
        start_images = int(self.trainer.lightning_module.images_seen) if self.trainer else 0  # type: ignore[arg-type]
        sampler = EndlessBatchSampler(self.order, self.total_images, start_images, rank, world_size)
        workers = self.workers if _can_start_workers(rank, self.workers) else 0
        self._training = _TensorLoader(
            cast(Dataset[Sample], FaceDataset(self.training_faces, self.augmentation, self.seed, self.with_originals)),
            batch_sampler=sampler,
            num_workers=workers,
            multiprocessing_context=_START_METHOD if workers else None,
            worker_init_fn=_begin_worker,
            collate_fn=_collate,
            prefetch_factor=4 if workers else None,
        )
        return self._training

    def close(self) -> None:
        """End the loader processes of a training that stopped before its last batch; without it, they live on."""
        if self._training is not None:
            self._training.close()

    def first_batch(self) -> Sample:
        """First training batch of the run, augmented."""
        dataset = FaceDataset(self.training_faces, self.augmentation, self.seed)
        return _as_tensors(_collate([dataset[draw] for draw in self.order.batch(0)]))

    def val_dataloader(self) -> DataLoader[Sample] | list[DataLoader[Sample]]:
        """Loader of the validation images; an empty list if the split has none."""
        return self.evaluation_loader(self.splits.val) if len(self.splits.val) else []

    def training_images(self) -> DataLoader[Sample]:
        """Loader of the training images as `evaluation_loader` gives them, synthetic ones among them."""
        return self._unaugmented(self.training_faces, self.order.indices)

    def evaluation_loader(self, indices: NDArray[np.int64]) -> DataLoader[Sample]:
        """Loader of images without augmentation, in order, each once over all ranks except for padding."""
        return self._unaugmented(self.faces, indices)

    def _unaugmented(self, faces: FaceSet, indices: NDArray[np.int64]) -> DataLoader[Sample]:
        rank, world_size = self._place()
        return _TensorLoader(
            cast(Dataset[Sample], FaceDataset(faces, None, self.seed)),
            batch_size=EVALUATION_BATCH_SIZE,
            sampler=EvaluationSampler(indices, rank, world_size),
            collate_fn=_collate,
        )

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def _collate(samples: Sequence[Arrays]) -> Arrays:
    """Stack samples as torch's default does, into NumPy arrays."""
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def _as_tensors(batch: Arrays) -> Sample:
    return cast(Sample, {name: torch.from_numpy(values) for name, values in batch.items()})


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
    """Limit a loader worker to one thread, so that it does not compete with the training threads; make it ignore
    signals to the whole process group, which the training process handles after its step; end it with that process."""
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
