"""What all families have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, NotRequired, TypedDict

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.metrics import Metric
from facelab.models.recipe import Recipe

_AT_ONCE = 1024  # images in one call: memory of feature maps


class StepOutput(TypedDict):
    """What a training step returns: the loss that was minimised, and detached named scalars to log."""

    loss: Tensor
    terms: dict[str, Tensor]


class Features(TypedDict):
    """Outputs of a model on a batch: embeddings (N, D); predicted labels (N,) if it classifies; on validation images,
    the loss of each (N,); if it reconstructs, each image's mean squared error (N,) on the scale of grey levels in
    [0, 1] and structural similarity (N,); and the batch's labels (N,) and image numbers (N,)."""

    embedding: Tensor
    predicted: NotRequired[Tensor]
    loss: NotRequired[Tensor]
    squared_error: NotRequired[Tensor]
    ssim: NotRequired[Tensor]
    label: Tensor
    index: Tensor


def to_float(images: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> float in [-1, 1], channels last in memory: the only place where pictures become floats."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1)


def as_grid(images: Tensor, columns: int) -> Tensor:
    """(rows * columns, C, H, W) -> (rows, columns, C, H, W)."""
    return images.reshape(-1, columns, *images.shape[1:])


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """(..., C, H, W) float in [-1, 1] -> (..., H, W, C) uint8, rounded: the inverse of `to_float`."""
    levels = images.float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.movedim(-3, -1).cpu().numpy()


class FaceModule(pl.LightningModule, ABC):
    """A model of faces: offers `embed`, and `classify` if it has a head of its own.

    Args:
        recipe: batch size, length and schedule.
    """

    needs_originals: ClassVar[bool] = False  # whether training batches bring each picture as it was before augmentation
    # Scalar terms of training and validation, recorded as train/... and val/....
    term_metrics: ClassVar[tuple[Metric, ...]] = (Metric("loss", "loss", higher_is_better=False),)
    optimizer_keys: ClassVar[str] = "model.optimizer"  # where its config has them, for messages

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        # Both are kept by the ImagesSeen callback.
        self.images_seen = 0
        self.step_seed = 0  # a function of the run's seed and images_seen, the same on all ranks

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, D) float: what every protocol asks for."""

    def classify(self, embeddings: Tensor) -> Tensor | None:
        """(N, D) embeddings -> (N, C) scores of the model's own head; None where it has none."""
        return None

    def test_time_images(self, images: Tensor) -> Iterable[Tensor]:
        """(N, C, H, W) -> views of the same shape, over which protocols average the embedding; the pictures alone
        unless a model says otherwise."""
        return [images]

    def prepare_evaluation(self, images: int) -> str | None:
        """Choose how to embed so many images; a note for the user if that is not as configured."""
        return None

    def validation_terms(self, features: Features) -> dict[str, Tensor]:
        """Named scalars of the whole validation part, beside accuracy, precision, recall and F1."""
        return {}

    def sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """Pictures that show how far training has come.

        Args:
            faces: (N, C, H, W) float in [-1, 1], nobody's training pictures, the same each time.

        Returns:
            By name, (rows, columns, C, H, W) float in [-1, 1]; none unless a model says otherwise.
        """
        return {}

    def final_sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """Further pictures for the end of a run; arguments and result as for `exhibits`."""
        return {}

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Turn the pictures into floats, on the device."""
        return {**batch, **{name: to_float(batch[name]) for name in ("image", "original") if name in batch}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the count of images."""
        checkpoint["images_seen"] = self.images_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting where the checkpoint was saved."""
        self.images_seen = checkpoint["images_seen"]

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Features:
        """What the model says of validation pictures, of one view each: it is asked often."""
        return self.features(batch, [batch["image"]])

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Features:
        """What the model says of any pictures, for the protocols."""
        return self.features(batch, self.test_time_images(batch["image"]))

    def features(self, batch: dict[str, Tensor], test_time_images: Iterable[Tensor]) -> Features:
        """Embeddings, averaged over views, and labels predicted by the head, if any; in float32."""
        with torch.autocast(batch["image"].device.type, enabled=False):
            views = torch.cat(list(test_time_images))
            embeddings = torch.cat([self.embed(some) for some in torch.split(views, _AT_ONCE)])
            embedding = embeddings.reshape(-1, len(batch["image"]), embeddings.shape[1]).mean(dim=0)
            found: Features = {"embedding": embedding, "label": batch["label"], "index": batch["index"]}
            scores = self.classify(embedding)
        if scores is not None:
            found["predicted"] = scores.argmax(dim=1)
        return found

    @abstractmethod
    def configure_optimizers(self) -> Any:
        """The optimiser or optimisers; learning rates follow the recipe's schedule by the ImagesSeen callback."""


class OneLossModule(FaceModule):
    """A model that minimises one loss with one optimiser."""

    @abstractmethod
    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named scalar terms of a batch; `loss` is the one to minimise."""

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> StepOutput:
        """One step of automatic optimisation."""
        terms = self.losses(batch)
        return {"loss": terms["loss"], "terms": {name: term.detach() for name, term in terms.items()}}


class Reconstructing(ABC):
    """What a model that turns embeddings back into pictures offers besides."""

    @abstractmethod
    def decode(self, embeddings: Tensor) -> Tensor:
        """(N, D) embeddings -> (N, C, H, W) float in [-1, 1]."""


class Generative(ABC):
    """What a model that makes new pictures offers besides.

    Attributes:
        latent_dim: length of its latents.
        num_labels: how many labels it can be asked for, 0 if it cannot be asked.
    """

    latent_dim: int
    num_labels: int = 0

    @abstractmethod
    def generate(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Standard normal latents (N, latent_dim), labels (N,) int64 in [0, num_labels), which a model that cannot be
        asked for any leaves aside -> (N, C, H, W) float in [-1, 1]."""
