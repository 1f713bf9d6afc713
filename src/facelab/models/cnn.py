"""The CNN family: an encoder with a classification head."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from facelab.models.base import Features, OneLossModule
from facelab.models.recipe import Recipe
from facelab.nets.encoders import ImageShape
from facelab.nets.test_time_augmentation import AffineTestTimeAugmentation


class CNN(OneLossModule):
    """A convolutional network trained to classify the training identities.

    Args:
        encoder: called with `image_shape`; images (N, C, H, W) -> embeddings (N, D); has `embedding_dim`.
        head: called with `embedding_dim` and `num_classes`; embeddings (N, D) -> scores (N, num_classes).
        loss: called with scores (N, num_classes) and labels (N,) int64; returns the mean over images. It must run
            under `torch.vmap`, which validation uses to compute the loss of each image.
        optimizer: called with the parameters.
        recipe: batch size, length and schedule.
        image_shape: (C, H, W) of the images.
        num_classes: number of classes.
        test_time_augmentation: called with images (N, C, H, W); returns augmented copies, whose embeddings the
            protocols average. None for no augmentation.
        init_from: the finished run whose encoder training starts from: its id, or its folder. None for random weights.
        init_layers: the encoder's modules that are taken from that run, such as `blocks`; None for all. The others keep
            random weights.
        freeze: `encoder` trains only the head and keeps batch normalisation's statistics; `none` trains everything.

    Raises:
        ValueError: the network does not support `image_shape`, the arguments of the loss are invalid, or `freeze` or
            `init_layers` is given without what it needs.
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
        init_from: str | None = None,
        init_layers: Sequence[str] | None = None,
        freeze: Literal["encoder", "none"] = "none",
    ) -> None:
        super().__init__(recipe)
        if freeze == "encoder" and (init_from is None or init_layers is not None):
            raise ValueError("freeze=encoder would keep random weights; give init_from=<run id> and no init_layers")
        if init_layers is not None and init_from is None:
            raise ValueError("init_layers names modules of the encoder of a run; give it as init_from=<run id>")
        self.encoder = encoder(image_shape=image_shape)
        self.head = head(embedding_dim=self.encoder.embedding_dim, num_classes=num_classes)
        self._loss, self._optimizer, self._num_classes = loss, optimizer, num_classes
        self._test_time, self._augments = test_time_augmentation, True
        self.init_from, self.init_layers, self._frozen = init_from, init_layers, freeze == "encoder"
        if self._frozen:
            self.encoder.requires_grad_(False).eval()  # Lightning keeps the mode that it finds
        # Call the loss as validation does, so that wrong arguments raise before training.
        torch.vmap(self._loss)(torch.zeros(2, 1, num_classes), torch.zeros(2, 1, dtype=torch.int64))

    def train(self, mode: bool = True) -> "CNN":
        """Set training or evaluation mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    def test_time_images(self, images: Tensor) -> Iterable[Tensor]:
        """Augmented copies of the images, as configured; by default only the images themselves."""
        return [images] if self._test_time is None or not self._augments else self._test_time(images)

    def prepare_evaluation(self, images: int) -> str | None:
        """Disable test-time augmentation for more than `max_images` images."""
        limit = None if self._test_time is None else self._test_time.max_images
        self._augments = limit is None or images <= limit
        if self._augments:
            return None
        return (
            f"{images:,} images are evaluated without test-time augmentation, since there are more than "
            f"model.test_time_augmentation.max_images={limit}. To use it all the same, at many times the duration, set "
            "model.test_time_augmentation.max_images=null."
        )

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) float of images (N, C, H, W) float in [-1, 1]."""
        embeddings: Tensor = self.encoder(images)
        return embeddings

    def classify(self, embeddings: Tensor) -> Tensor:
        """Scores (N, num_classes) of embeddings (N, D)."""
        scores: Tensor = self.head(embeddings)
        return scores

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, and `accuracy` on the augmented batch."""
        scores = self.classify(self.embed(batch["image"]))
        return {
            "loss": self._loss(scores, batch["label"]),
            "accuracy": (scores.detach().argmax(1) == batch["label"]).float().mean(),
        }

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Features:
        """Features with the loss of each image, without augmentation and dropout; NaN for classes without a score."""
        features, scores = self.features_and_scores(batch, [batch["image"]])
        assert scores is not None
        trained = features["label"] < self._num_classes
        labels = torch.where(trained, features["label"], 0)
        # The loss returns a mean: over batches of one image, it is the loss of each.
        losses = torch.vmap(self._loss)(scores[:, None], labels[:, None])
        features["loss"] = torch.where(trained, losses, torch.nan)
        return features

    def validation_terms(self, features: Features) -> dict[str, Tensor]:
        """`loss`, the mean over images; nothing if some show classes that were not trained, which have no loss."""
        trained = bool((features["label"] < self._num_classes).all())
        return {"loss": features["loss"].mean()} if trained else {}

    def configure_optimizers(self) -> Any:
        """The optimiser over all parameters that are not frozen."""
        return self._optimizer([parameter for parameter in self.parameters() if parameter.requires_grad])
