"""What all families have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NotRequired, TypedDict

import pytorch_lightning as pl
import torch
from torch import Tensor

from facelab.recipe import Recipe


class StepOutput(TypedDict):
    """What a training step returns: the loss to minimise, and detached named scalars to log (the loss among them)."""

    loss: Tensor
    terms: dict[str, Tensor]


class Features(TypedDict):
    """What a model says of a batch: embeddings (N, D), scores (N, C) if it classifies, and the batch's labels (N,)
    and picture numbers (N,)."""

    embedding: Tensor
    scores: NotRequired[Tensor]
    label: Tensor
    index: Tensor


def to_float(images: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> float in [-1, 1], channels last in memory: the only place where pictures become floats."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1)


class FaceModule(pl.LightningModule, ABC):
    """A recogniser: offers `embed`, and `classify` if it has a head of its own.

    Args:
        recipe: batch size, length and schedule.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.images_seen = 0  # kept by the ImagesSeen callback

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, D) float: what every protocol asks for."""

    def classify(self, embeddings: Tensor) -> Tensor | None:
        """(N, D) embeddings -> (N, C) scores of the model's own head; None where it has none."""
        return None

    def views(self, images: Tensor) -> Iterable[Tensor]:
        """(N, C, H, W) -> views of the same shape, over which protocols average the embedding; the pictures alone
        unless a model says otherwise."""
        return [images]

    @abstractmethod
    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named scalar terms of a batch; `loss` is the one to minimise."""

    def validation_terms(self, features: Features) -> dict[str, Tensor]:
        """Named scalars of the whole validation part, beside accuracy, precision, recall and F1."""
        return {}

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Turn the pictures into floats, on the device."""
        return {**batch, "image": to_float(batch["image"])}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> StepOutput:
        """One step of automatic optimisation."""
        terms = self.losses(batch)
        return {"loss": terms["loss"], "terms": {name: term.detach() for name, term in terms.items()}}

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
        return self.features(batch, self.views(batch["image"]))

    def features(self, batch: dict[str, Tensor], views: Iterable[Tensor]) -> Features:
        """Embeddings, averaged over views, and scores where there is a head; in float32 whatever the precision."""
        with torch.autocast(batch["image"].device.type, enabled=False):
            embedding = torch.stack([self.embed(view) for view in views]).mean(dim=0)
            found: Features = {"embedding": embedding, "label": batch["label"], "index": batch["index"]}
            scores = self.classify(embedding)
        if scores is not None:
            found["scores"] = scores
        return found

    @abstractmethod
    def configure_optimizers(self) -> Any:
        """The optimiser or optimisers; learning rates follow the recipe's schedule by the ImagesSeen callback."""
