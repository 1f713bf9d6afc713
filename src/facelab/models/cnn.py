"""The CNN family: an encoder and a classifying head."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from facelab.models.base import Features, OneLossModule
from facelab.models.recipe import Recipe
from facelab.nets.encoders import ImageShape
from facelab.nets.test_time_augmentation import AffineTestTimeAugmentation


class CNN(OneLossModule):
    """A convolutional recogniser trained to tell the training identities apart.

    Args:
        encoder: called with `image_shape`; pictures (N, C, H, W) -> embeddings (N, D); has `embedding_dim`.
        head: called with `embedding_dim` and `num_classes`; embeddings (N, D) -> scores (N, num_classes).
        loss: called with scores (N, num_classes) and labels (N,) int64; a scalar, the mean over images.
        optimizer: called with the parameters.
        recipe: batch size, length and schedule.
        image_shape: (C, H, W) of the pictures.
        num_classes: number of classes.
        test_time_augmentation: called with pictures (N, C, H, W); views of them, over which the embedding is averaged
            at the end. None for the pictures alone.

    Raises:
        ValueError: the network cannot take such pictures, or the loss refuses its arguments.
    """

    def __init__(
        self,
        encoder: Callable[..., nn.Module],
        head: Callable[..., nn.Module],
        loss: Callable[..., Tensor],
        optimizer: Callable[..., torch.optim.Optimizer],
        recipe: Recipe,
        image_shape: ImageShape,
        num_classes: int,
        test_time_augmentation: AffineTestTimeAugmentation | None = None,
    ) -> None:
        super().__init__(recipe)
        self.encoder = encoder(image_shape=image_shape)
        self.head = head(embedding_dim=self.encoder.embedding_dim, num_classes=num_classes)
        self._loss, self._optimizer = loss, optimizer
        self._test_time, self._augments = test_time_augmentation, True
        self._loss(
            torch.zeros(2, num_classes), torch.zeros(2, dtype=torch.int64)
        )  # wrong arguments show before training

    def test_time_images(self, images: Tensor) -> Iterable[Tensor]:
        """As configured; the pictures alone by default."""
        return [images] if self._test_time is None or not self._augments else self._test_time(images)

    def prepare_evaluation(self, images: int) -> str | None:
        """Leave out test-time augmentation if there are more images than it is meant for."""
        limit = None if self._test_time is None else self._test_time.max_images
        self._augments = limit is None or images <= limit
        if self._augments:
            return None
        return (
            f"{images:,} images are evaluated without test-time augmentation, which would take many times as long; "
            f"model.test_time_augmentation.max_images={limit}. Set it to null to use it for any number."
        )

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, D) float."""
        embeddings: Tensor = self.encoder(images)
        return embeddings

    def classify(self, embeddings: Tensor) -> Tensor:
        """(N, D) embeddings -> (N, num_classes) scores."""
        scores: Tensor = self.head(embeddings)
        return scores

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, and `accuracy` on the batch as it was shown."""
        scores = self.classify(self.embed(batch["image"]))
        return {
            "loss": self._loss(scores, batch["label"]),
            "accuracy": (scores.detach().argmax(1) == batch["label"]).float().mean(),
        }

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Features:
        """Features with the loss of each image, as in training but without augmentation and dropout."""
        features = super().validation_step(batch, batch_idx)
        with torch.autocast(batch["image"].device.type, enabled=False):
            scores = self.classify(features["embedding"])
        pairs = zip(scores[:, None], features["label"][:, None], strict=True)
        features["loss"] = torch.stack([self._loss(score, label) for score, label in pairs])
        return features

    def validation_terms(self, features: Features) -> dict[str, Tensor]:
        """`loss`, the mean over images."""
        return {"loss": features["loss"].mean()}

    def configure_optimizers(self) -> Any:
        """The optimiser over all parameters."""
        return self._optimizer(self.parameters())
