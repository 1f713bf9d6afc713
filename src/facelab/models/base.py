"""Base classes of all models."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, NotRequired, TypedDict

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.models.recipe import Constant, Recipe
from facelab.nets.test_time_augmentation import in_pieces

if TYPE_CHECKING:
    from facelab.models.transfer import Transfer

_AT_ONCE = 256  # images per forward pass: bounds the memory of feature maps, which then stay in the caches

# Shows the progress of a fit: what is counted, and how many of them; gives what to call after each.
Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


class StepOutput(TypedDict):
    """Return value of a training step: the minimised loss, and detached scalars to log by name."""

    loss: Tensor
    terms: dict[str, Tensor]


class Features(TypedDict):
    """Outputs of a model on a batch of N images.

    Attributes:
        embedding: (N, D).
        predicted: (N,) labels, if the model classifies.
        loss: (N,) loss of each image, on validation images.
        squared_error: (N,) mean squared error of each reconstruction, for grey levels in [0, 1].
        ssim: (N,) structural similarity of each reconstruction.
        label: (N,) true labels.
        index: (N,) numbers of the images in the face set.
    """

    embedding: Tensor
    predicted: NotRequired[Tensor]
    loss: NotRequired[Tensor]
    squared_error: NotRequired[Tensor]
    ssim: NotRequired[Tensor]
    label: Tensor
    index: Tensor


def to_float(images: Tensor) -> Tensor:
    """Convert images (N, C, H, W) from uint8 to float in [-1, 1], channels last in memory."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1)


def as_grid(images: Tensor, columns: int) -> Tensor:
    """Reshape images (rows * columns, C, H, W) to a grid (rows, columns, C, H, W)."""
    return images.reshape(-1, columns, *images.shape[1:])


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Convert images (..., C, H, W) float in [-1, 1] to (..., H, W, C) uint8, rounded: the inverse of `to_float`."""
    levels = images.float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.movedim(-3, -1).cpu().numpy()


class FaceModule(pl.LightningModule, ABC):
    """Base class of all models: computes embeddings, and scores if it has a classification head.

    Args:
        recipe: batch size, length and schedule.
    """

    needs_originals: ClassVar[bool] = False  # whether training batches also hold the images before augmentation
    # Scalar terms of training and validation, recorded as train/... and val/...
    term_metrics: ClassVar[tuple[Metric, ...]] = (Metric("loss", "loss", higher_is_better=False),)
    optimizer_keys: ClassVar[str] = "model.optimizer"  # config keys of the optimisers, for error messages
    transfer: "Transfer | None" = None  # where the encoder's weights come from, in models that have the keys for it

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.synthetic_classes = 0  # number of classes, the last ones, that only synthetic faces show
        # The ImagesSeen callback sets both.
        self.images_seen = 0
        self.step_seed = 0  # a function of the run's seed and images_seen, the same on all ranks

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) float of images (N, C, H, W) float in [-1, 1]."""

    @property
    def classifies(self) -> bool:
        """Whether the model has a classification head."""
        return type(self).classify is not FaceModule.classify

    @property
    def has_validation_loss(self) -> bool:
        """Whether validation records `val/loss`, if the model has such a term."""
        return True

    @property
    def validation_metrics(self) -> tuple[Metric, ...]:
        """What `validation_terms` gives; by default the terms of training."""
        return tuple(term for term in self.term_metrics if term.name != "loss" or self.has_validation_loss)

    def total_images(self, training_images: int) -> int:
        """Length of a run in images seen, for a training set of this size."""
        return self.recipe.total_images(training_images)

    def classify(self, embeddings: Tensor) -> Tensor | None:
        """Scores (N, num_classes) of embeddings (N, D) by the classification head; None if the model has no head."""
        return None

    def scores(self, embeddings: Tensor) -> Tensor | None:
        """Scores (N, K) of embeddings (N, D) for the K classes of real faces; None if the model has no head.

        The scores of classes that only synthetic faces show are left out: these classes exist to shape the embedding in
        training, and no face that is ever tested belongs to one.
        """
        scores = self.classify(embeddings)
        return None if scores is None else scores[:, : scores.shape[1] - self.synthetic_classes]

    def probabilities(self, embeddings: Tensor) -> Tensor | None:
        """Probabilities (N, K) of embeddings (N, D): softmax of `scores`; None without a head."""
        scores = self.scores(embeddings)
        return None if scores is None else scores.softmax(dim=1)

    def test_time_images(self, images: Tensor) -> Iterable[Tensor]:
        """Augmented copies of the images (N, C, H, W), each of the same shape; their embeddings are averaged.

        By default, only the images themselves.
        """
        return [images]

    @classmethod
    def check_training(cls, faces: FaceSet, train: Indices, with_synthetic: bool) -> None:
        """Check that the model can learn from training images; by default, from all.

        Args:
            faces: the face set.
            train: (N,) indices of the real training images.
            with_synthetic: whether synthetic faces are added to them.

        Raises:
            ConfigError: it cannot.
        """
        return

    def prepare_training(self, batches: Iterable[Tensor]) -> None:
        """Fit what is computed from the training images and not learned; by default nothing.

        Args:
            batches: all training images without augmentation, (N, C, H, W) float in [-1, 1], read as they are used.
        """
        return

    def prepare_evaluation(self, images: int) -> str | None:
        """Prepare for embedding a number of images; return a note for the user if the config is not followed."""
        return None

    def validation_terms(self, features: Features) -> dict[str, Tensor]:
        """Scalars of the whole validation split by name, beside accuracy, precision, recall and F1.

        A term that needs the label, such as a classifier's loss, is left out if labels are of untrained classes.
        """
        return {}

    def sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """Grids of images that show the progress of training.

        Args:
            faces: (N, C, H, W) float in [-1, 1], not from the training split, the same in every call.

        Returns:
            Grids (rows, columns, C, H, W) float in [-1, 1] by name; none by default.
        """
        return {}

    def final_sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """Further grids for the end of a run; arguments and result as for `sample_grids`."""
        return {}

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Convert the images to float on the device."""
        return {**batch, **{name: to_float(batch[name]) for name in ("image", "original") if name in batch}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the number of images seen."""
        checkpoint["images_seen"] = self.images_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the number of images seen."""
        self.images_seen = checkpoint["images_seen"]

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Features:
        """Features of validation images, without test-time augmentation to keep frequent validations short."""
        return self.features(batch, [batch["image"]])

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Features:
        """Features of images for the protocols, with test-time augmentation."""
        return self.features(batch, self.test_time_images(batch["image"]))

    def features(self, batch: dict[str, Tensor], test_time_images: Iterable[Tensor]) -> Features:
        """Embeddings, averaged over `test_time_images`, and the head's predicted labels, if any; in float32."""
        return self.features_and_scores(batch, test_time_images)[0]

    def features_and_scores(
        self, batch: dict[str, Tensor], test_time_images: Iterable[Tensor]
    ) -> tuple[Features, Tensor | None]:
        """As `features`, and the head's `scores` (N, K) in float32; None if the model has no head."""
        with torch.autocast(batch["image"].device.type, enabled=False):
            embeddings = torch.cat([self.embed(some) for some in in_pieces(test_time_images, _AT_ONCE)])
            embedding = embeddings.reshape(-1, len(batch["image"]), embeddings.shape[1]).mean(dim=0)
            found: Features = {"embedding": embedding, "label": batch["label"], "index": batch["index"]}
            scores = self.scores(embedding)
        if scores is not None:
            found["predicted"] = scores.argmax(dim=1)
        return found, scores

    @abstractmethod
    def configure_optimizers(self) -> Any:
        """The optimiser or optimisers; the ImagesSeen callback applies the recipe's learning rate schedule."""


def refuse_without_head(model: type[FaceModule], node: Mapping[str, Any]) -> None:
    """Check that a configured model has a classification head.

    Args:
        model: its class.
        node: its config.

    Raises:
        ConfigError: it has none.
    """
    if model.classify is FaceModule.classify or node.get("head", model) is None:
        raise ConfigError(
            f"this {model.__name__} has no head to classify with. Set a model with a head, such as model=cnn."
        )


class OneLossModule(FaceModule):
    """A model that minimises one loss with one optimiser."""

    @abstractmethod
    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalar terms of a batch by name; `loss` is minimised."""

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> StepOutput:
        """One step of automatic optimisation."""
        terms = self.losses(batch)
        return {"loss": terms["loss"], "terms": {name: term.detach() for name, term in terms.items()}}


class FittedModule(FaceModule):
    """A model that is fitted once to all training images, without augmentation, instead of trained by steps."""

    term_metrics: ClassVar[tuple[Metric, ...]] = ()

    def __init__(self) -> None:
        super().__init__(Recipe(batch_size=64, schedule=Constant(), max_epochs=1))

    @property
    def has_validation_loss(self) -> bool:
        """False: nothing is minimised by steps."""
        return False

    def total_images(self, training_images: int) -> int:
        """The training images, each seen once."""
        return training_images

    @abstractmethod
    def fit(self, images: Tensor, labels: Tensor, progress: Progress) -> str | None:
        """Set the buffers, which hold what is fitted.

        Args:
            images: all training images, (N, C, H, W) float in [-1, 1], on the CPU.
            labels: (N,) int64 in [0, num_classes).
            progress: shows the progress of a fit that takes long, as `facelab.system.progress`.

        Returns:
            A note for the user if the config cannot be followed; None otherwise.
        """

    def configure_optimizers(self) -> None:
        """None: there is no optimiser."""
        return


class Reconstructing(ABC):
    """Interface of models that decode embeddings into images."""

    @abstractmethod
    def decode(self, embeddings: Tensor) -> Tensor:
        """Images (N, C, H, W) float in [-1, 1] of embeddings (N, D)."""


class Generative(ABC):
    """Interface of models that generate new images.

    Attributes:
        latent_dim: length of the latents.
        num_labels: number of labels that images can be conditioned on; the class attribute 0 for unconditional models.
    """

    latent_dim: int
    num_labels: int = 0

    @classmethod
    def is_conditional(cls) -> bool:
        """Whether images can be conditioned on a label; such classes have a property in place of the 0."""
        return cls.num_labels != 0

    @abstractmethod
    def generate(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Generate images (N, C, H, W) float in [-1, 1].

        Args:
            latents: (N, latent_dim) standard normal.
            labels: (N,) int64 in [0, num_labels), or (N, num_labels) float, the weights of a mixture of labels;
                unconditional models ignore them.
        """


class Varying(ABC):
    """Interface of models that make other images of the person on a given image.

    Attributes:
        latent_dim: length of the latents.
    """

    latent_dim: int

    @abstractmethod
    def vary(self, images: Tensor, latents: Tensor) -> Tensor:
        """Make other images (N, C, H, W) float in [-1, 1] of the same people.

        Args:
            images: (N, C, H, W) float in [-1, 1].
            latents: (N, latent_dim) standard normal.
        """
