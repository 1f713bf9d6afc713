"""The GAN family: a generator and a discriminator, trained against each other."""

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from facelab.models.adversarial import AdversarialModule, AdversarialObjective, AdversarialOptimizers
from facelab.models.base import Generative, StepOutput, as_grid
from facelab.models.encoding import EncodingModule, EncodingObjective
from facelab.models.recipe import Recipe
from facelab.models.sampling import between_latents, latents
from facelab.nets.encoders import ImageShape

_GRID = (8, 8)  # rows and columns of a sample grid


class GAN(AdversarialModule, Generative):
    """A generative adversarial network: generates faces from noise.

    Goodfellow et al., "Generative Adversarial Nets", 2014. The embedding consists of the discriminator's pooled feature
    maps, as in Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks" (DCGAN), 2016, section 5.1. If the recipe averages weights, sample grids, evaluation and the saved model
    use the averages of both networks.

    Args:
        generator: called with `image_shape` and `latent_dim`; latents (N, latent_dim) -> images in [-1, 1].
        discriminator: called with `image_shape`, with twice the channels if the objective has `detail`; images ->
            logits (N,), and `features` -> (N, D).
        objective: losses, penalties and augmentation.
        optimizers: an optimiser for each network.
        recipe: batch size, length, schedule and averaging.
        latent_dim: length of the latents.
        image_shape: (C, H, W) of the images.
        num_classes: number of classes.

    Raises:
        ValueError: the networks do not support `image_shape`, the loss or a penalty is unusable, or the objective is
            one for an encoder.
    """

    def __init__(
        self,
        generator: Callable[..., nn.Module],
        discriminator: Callable[..., nn.Module],
        objective: AdversarialObjective,
        optimizers: AdversarialOptimizers,
        recipe: Recipe,
        latent_dim: Annotated[int, Field(ge=1)],
        image_shape: ImageShape,
        num_classes: int,
    ) -> None:
        super().__init__(objective, optimizers, recipe, latent_dim)
        if isinstance(objective, EncodingObjective) and not isinstance(self, EncodingModule):
            raise ValueError(
                f"objective is an EncodingObjective, but {type(self).__name__} has no encoder: choose "
                "facelab.models.AdversarialObjective and remove encoder, weight, feature_weight, maps, kl_weight and "
                "every, or choose VAEGAN or ConditionalVAEGAN"
            )
        objective.try_out(objective.seen_shape(image_shape))
        self.num_classes = num_classes
        self.generator = self._made(generator, image_shape=image_shape, latent_dim=latent_dim)
        self.discriminator = self._made(discriminator, image_shape=objective.seen_shape(image_shape))

    def _made(self, network: Callable[..., nn.Module], **arguments: object) -> nn.Module:
        return network(**arguments)

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) float of images (N, C, H, W) float in [-1, 1]: the discriminator's pooled feature maps."""
        features: Tensor = self.discriminator.features(self._objective.seen(images))  # type: ignore[operator]
        return features

    def generate(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images (N, C, H, W) float in [-1, 1] of standard normal latents (N, latent_dim); labels are ignored."""
        images: Tensor = self.generator(latents)
        return images

    def discriminate(self, images: Tensor, labels: Tensor) -> Tensor:
        """Logits (N,) of images (N, C, H, W) float in [-1, 1] with labels (N,) int64."""
        return self._judged(self._objective.seen(images), labels)

    def _judged(self, seen: Tensor, labels: Tensor) -> Tensor:
        """Logits (N,) of what the discriminator sees of images."""
        logits: Tensor = self.discriminator(seen)
        return logits.float()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> StepOutput:
        """One step of the discriminator, then one of the generator, on the same generated images."""
        real, labels = batch["image"], batch["label"]
        drawn, *draws = self.draws(len(real), real.device)

        def logits(seen: Tensor) -> Tensor:
            return self._judged(seen, labels)

        generated = self.generate(drawn, labels).float()
        return self.adversarial_step(real, generated, draws, logits, lambda: self.further_terms(real, labels))

    def further_terms(self, real: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Scalar terms that are added to the generator's loss, by name; none.

        Args:
            real: images (N, C, H, W) float in [-1, 1].
            labels: (N,) int64.
        """
        return {}

    def sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`samples`: images of fixed latents."""
        rows, columns = _GRID
        return {"samples": self._grid(self._fixed(rows * columns).reshape(rows, columns, -1), [0] * rows)}

    def final_sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`interpolations`: a row for each pair of latents. `truncation`: the same latents in all rows, times 0, 0.25,
        0.5, 0.75 and 1."""
        rows, columns = _GRID
        between = between_latents(rows, columns, self.latent_dim, seed=0).to(self.device)
        psi = torch.tensor([0, 0.25, 0.5, 0.75, 1], device=self.device)[:, None, None]
        row_labels = [row % max(1, self.num_labels) for row in range(rows)]
        return {
            "interpolations": self._grid(between, row_labels),
            "truncation": self._grid(psi * self._fixed(columns), [0] * len(psi)),
        }

    def _fixed(self, count: int) -> Tensor:
        return latents(count, self.latent_dim, seed=0).to(self.device)

    def _grid(self, rows: Tensor, labels: Sequence[int]) -> Tensor:
        """Images (rows, columns, C, H, W) of latents (rows, columns, latent_dim) and a label for each row."""
        of_each = torch.tensor(labels, device=self.device).repeat_interleave(rows.shape[1])
        return as_grid(self.generate(rows.flatten(0, 1), of_each), rows.shape[1])


class ConditionalGAN(GAN):
    """A conditional GAN: generates faces of a given identity.

    Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014. Arguments as for `GAN`; `generator` and
    `discriminator` are also called with `num_classes`, and both networks take the labels (N,) int64 as second argument.
    """

    @property
    def num_labels(self) -> int:  # type: ignore[override]
        """Number of labels that images can be conditioned on: all classes of real faces."""
        return self.num_classes - self.synthetic_classes

    def _made(self, network: Callable[..., nn.Module], **arguments: object) -> nn.Module:
        return network(num_classes=self.num_classes, **arguments)

    def generate(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images (N, C, H, W) float in [-1, 1] of standard normal latents (N, latent_dim) and labels: (N,) int64, or
        weights of a mixture, (N, num_labels) float."""
        images: Tensor = self.generator(latents, labels)
        return images

    def _judged(self, seen: Tensor, labels: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(seen, labels)
        return logits.float()

    def sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`samples`: a row for each of the first identities, with the same latents in all rows."""
        rows, columns = min(self.num_classes, _GRID[0]), _GRID[1]
        return {"samples": self._grid(self._fixed(columns).expand(rows, -1, -1), range(rows))}
