"""The CNN family: an encoder, trained by a classification head or by comparing embeddings."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, Protocol, cast, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn

from facelab.models.base import Features, OneLossModule
from facelab.models.named_loss import NamedLoss
from facelab.models.recipe import Recipe
from facelab.models.transfer import Transfer
from facelab.nets.encoders import ImageShape
from facelab.nets.test_time_augmentation import AffineTestTimeAugmentation


@runtime_checkable
class Fitted(Protocol):
    """An encoder with a part that is fitted to the training images in closed form, before training."""

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Fit to batches (N, C, H, W) float in [-1, 1]."""


class CNN(OneLossModule):
    """A convolutional network that embeds faces, trained to tell the training identities apart.

    Args:
        encoder: called with `image_shape`; images (N, C, H, W) -> embeddings (N, D); has `embedding_dim`. If only the
            first entries of the embedding are trained, it has `trained_dim`, and a method `fit` for the others: see
            `facelab.nets.ConvTextureEncoder`.
        head: called with `embedding_dim` and `num_classes`; embeddings (N, D) -> scores (N, num_classes). None for a
            loss of embeddings: such a model predicts no labels, and has no accuracy.
        loss: called with the values that its arguments name: see `NamedLoss`. Returns the mean over images or pairs. A
            loss of scores must run under `torch.vmap`, which validation uses to compute the loss of each image.
        optimizer: called with the parameters.
        recipe: batch size, length and schedule.
        image_shape: (C, H, W) of the images.
        num_classes: number of classes.
        test_time_augmentation: called with images (N, C, H, W); returns augmented copies, whose embeddings the
            protocols average. None for no augmentation.
        init_from: see `Transfer`, as for the following arguments, which are keys of their own for the command line.
        init_layers: see `Transfer`.
        freeze: see `Transfer`.
        layer_decay: see `Transfer`; in (0, 1].

    Raises:
        ValueError: the network does not support `image_shape`, or gives another length than its `embedding_dim`; the
            arguments of the loss are invalid or do not fit the head, or those of `Transfer` each other.
    """

    transfer: Transfer

    def __init__(
        self,
        encoder: Callable[..., nn.Module],
        head: Callable[..., nn.Module] | None,
        loss: Callable[..., Tensor],
        optimizer: Callable[..., torch.optim.Optimizer],
        recipe: Recipe,
        image_shape: ImageShape,
        num_classes: int,
        test_time_augmentation: AffineTestTimeAugmentation | None = None,
        init_from: str | None = None,
        init_layers: Sequence[str] | None = None,
        freeze: Literal["encoder", "none"] = "none",
        layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(recipe)
        self.transfer = Transfer(init_from, init_layers, freeze, layer_decay)
        if self.transfer.freezes and head is None:
            raise ValueError("freeze=encoder leaves nothing to train without a head; set a head, or freeze=none")
        self.encoder = encoder(image_shape=image_shape)
        _check_width(self.encoder, image_shape)
        dim = self._trained_dim = cast(int, getattr(self.encoder, "trained_dim", self.encoder.embedding_dim))
        self.head = None if head is None else head(embedding_dim=dim, num_classes=num_classes)
        self._offered = getattr(self.head, "offers", ())
        self._loss = NamedLoss(loss, None if head is None else self._offered)
        self._optimizer, self._num_classes = optimizer, num_classes
        self._test_time, self._augments = test_time_augmentation, True
        if self.transfer.freezes:
            self.encoder.requires_grad_(False).eval()  # Lightning keeps the mode that it finds
        self._try_loss(torch.zeros(2, dim), torch.zeros(2, num_classes))

    def train(self, mode: bool = True) -> "CNN":
        """Set training or evaluation mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.transfer.freezes:
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
            f"model.test_time_augmentation.max_images={limit}. To use it all the same, at many times the duration, "
            "train with model.test_time_augmentation.max_images=null."
        )

    def prepare_training(self, batches: Iterable[Tensor]) -> None:
        """Fit what the encoder computes and does not learn, if anything; a frozen encoder stays as it is."""
        if isinstance(self.encoder, Fitted) and not self.transfer.freezes:
            self.encoder.fit(batches)

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) float of images (N, C, H, W) float in [-1, 1]."""
        embeddings: Tensor = self.encoder(images)
        return embeddings

    @property
    def classifies(self) -> bool:
        """Whether it has a head."""
        return self.head is not None

    @property
    def _tested_classes(self) -> int:
        return self._num_classes - self.synthetic_classes

    @property
    def has_validation_loss(self) -> bool:
        """Whether each image has a loss: not if the loss compares the images of a batch."""
        return self._loss.has_loss_of_each_image

    def classify(self, embeddings: Tensor) -> Tensor | None:
        """Scores (N, num_classes) of embeddings (N, D); None without a head."""
        return None if self.head is None else self.head(embeddings[:, : self._trained_dim])

    def probabilities(self, embeddings: Tensor) -> Tensor | None:
        """Probabilities (N, K) of embeddings (N, D): softmax of `scores`, with the scale of the loss."""
        scores = self.scores(embeddings)
        return None if scores is None else (self._loss.scale(self._num_classes) * scores).softmax(dim=1)

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, and with a head `accuracy` on the augmented batch."""
        embeddings = self.embed(batch["image"])
        scores = self.classify(embeddings)
        terms = {"loss": self._loss(self._values(embeddings, scores, batch))}
        if scores is not None:
            terms["accuracy"] = (scores.detach().argmax(1) == batch["label"]).float().mean()
        return terms

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Features:
        """Features with the loss of each image, without augmentation and dropout; NaN for classes without a score.

        No loss if it compares images: it would depend on how the images are split into batches.
        """
        features, scores = self.features_and_scores(batch, [batch["image"]])
        if self.has_validation_loss:
            trained = features["label"] < self._tested_classes
            labels = torch.where(trained, features["label"], 0)
            values = self._values(features["embedding"], scores, {**batch, "label": labels})
            features["loss"] = torch.where(trained, self._loss.of_each_image(values), torch.nan)
        return features

    def validation_terms(self, features: Features) -> dict[str, Tensor]:
        """`loss`, the mean over images, if each has one; those of classes that were not trained have none."""
        trained = bool((features["label"] < self._tested_classes).all())
        return {"loss": features["loss"].mean()} if trained and self.has_validation_loss else {}

    def _values(self, embeddings: Tensor, scores: Tensor | None, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The values that a loss may name."""
        embeddings = embeddings[:, : self._trained_dim]
        values = {"embeddings": embeddings, "labels": batch["label"]}
        if "identities" in self._loss.names:
            values["identities"] = batch["identity"]
        if scores is not None:
            values |= {"cosines": scores, "logits": scores}
        if self._offered:
            values |= self.head.offered(embeddings)  # type: ignore[union-attr, operator]
        return values

    def _try_loss(self, embeddings: Tensor, scores: Tensor) -> None:
        """Call the loss as training or validation does, so that wrong arguments raise before training."""
        zeros = torch.zeros(len(embeddings))
        labels = zeros.long()
        values = {"embeddings": embeddings, "cosines": scores, "logits": scores, "labels": labels, "identities": labels}
        call = self._loss.of_each_image if self.has_validation_loss else self._loss
        call({**values, **dict.fromkeys(self._offered, zeros)})

    def configure_optimizers(self) -> Any:
        """The optimiser over all parameters that are not frozen."""
        trained = (parameter for parameter in self.parameters() if parameter.requires_grad)
        return self.transfer.optimizer(self._optimizer, self.encoder, trained)


def _check_width(encoder: nn.Module, image_shape: ImageShape) -> None:
    """Check the length of an encoder's embeddings on one image; modes and random numbers stay as they are.

    Raises:
        ValueError: it is not `embedding_dim`, or the encoder fails.
    """
    image = torch.zeros(1, *image_shape)
    if image.is_meta:
        return  # only the weights are counted
    modes = {module: module.training for module in encoder.modules()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = tuple(encoder.eval()(image).shape)
    except Exception as error:  # whatever a foreign network raises
        raise ValueError(f"encoder: it failed on an image of zeros, {tuple(image.shape)}: {error}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    expected = getattr(encoder, "embedding_dim", None)
    if found != (1, expected):
        raise ValueError(
            f"encoder: it gave {found} for one image, but its embedding_dim is {expected}. Expected (1, embedding_dim)."
        )
