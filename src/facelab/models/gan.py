"""The GAN family: a generator and a discriminator, trained against each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from facelab.losses.adversarial import AdversarialTerms
from facelab.metrics import Metric
from facelab.models.base import FaceModule, Generative, StepOutput, as_grid
from facelab.models.recipe import Recipe
from facelab.models.sampling import between_latents, latents
from facelab.nets.diffaugment import DiffAugment
from facelab.nets.encoders import ImageShape

_GRID = (8, 8)  # rows and columns of a sample grid


@dataclass(frozen=True)
class AdversarialObjective:
    """Losses, penalties and augmentation of adversarial training.

    Args:
        loss: called with logits of real and of generated images; returns one term for each network.
        penalties: each called with the discriminator, real and generated images; added to the discriminator's loss.
        penalty_every: apply the penalties in every n-th step, weighted n times (lazy regularisation, Karras et al.,
            "Analyzing and Improving the Image Quality of StyleGAN", 2020, section 3.1).
        augment: augmentation of real and generated images before the discriminator; None for no augmentation.
    """

    loss: Callable[..., AdversarialTerms]
    penalties: Sequence[Callable[..., Tensor]] = ()
    penalty_every: Annotated[int, Field(ge=1)] = 1
    augment: DiffAugment | None = None

    def seen(self, images: Tensor, draws: Tensor) -> Tensor:
        """Augment images (N, C, H, W) for the discriminator; `draws` are the random numbers of the augmentation."""
        return images if self.augment is None else self.augment(images, draws)

    def penalty(self, step: int, logits: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor) -> Tensor | None:
        """Sum of the penalties, a scalar; None on steps that have none.

        Args:
            step: number of steps before this one.
            logits: the discriminator, images (N, C, H, W) -> logits (N,).
            real: augmented real images, (N, C, H, W).
            generated: augmented generated images, (N, C, H, W).
        """
        if not self.penalties or step % self.penalty_every:
            return None
        return torch.stack([penalty(logits, real, generated) for penalty in self.penalties]).sum()


@dataclass(frozen=True)
class AdversarialOptimizers:
    """Optimisers of the generator and the discriminator.

    Args:
        generator: called with the generator's parameters.
        discriminator: called with the discriminator's parameters.
    """

    generator: Callable[..., torch.optim.Optimizer]
    discriminator: Callable[..., torch.optim.Optimizer]


class GAN(FaceModule, Generative):
    """A generative adversarial network: generates faces from noise.

    Goodfellow et al., "Generative Adversarial Nets", 2014. The embedding consists of the discriminator's pooled feature
    maps, as in Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks" (DCGAN), 2016, section 5.1. If the recipe averages weights, sample grids, evaluation and the saved model
    use the averages of both networks.

    Args:
        generator: called with `image_shape` and `latent_dim`; latents (N, latent_dim) -> images in [-1, 1].
        discriminator: called with `image_shape`; images -> logits (N,), and `features` -> (N, D).
        objective: losses, penalties and augmentation.
        optimizers: an optimiser for each network.
        recipe: batch size, length, schedule and averaging.
        latent_dim: length of the latents.
        image_shape: (C, H, W) of the images.
        num_classes: number of classes.

    Raises:
        ValueError: the networks do not support `image_shape`.
    """

    term_metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("generator_loss", "loss of the generator", higher_is_better=False),
        Metric("discriminator_loss", "loss of the discriminator", higher_is_better=False),
        Metric("penalty", "penalties", higher_is_better=False),
    )
    optimizer_keys: ClassVar[str] = "model.optimizers.generator, model.optimizers.discriminator"

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
        super().__init__(recipe)
        self.automatic_optimization = False
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.generator = self._made(generator, image_shape=image_shape, latent_dim=latent_dim)
        self.discriminator = self._made(discriminator, image_shape=image_shape)
        self._objective, self._optimizers = objective, optimizers

    def _made(self, network: Callable[..., nn.Module], **arguments: object) -> nn.Module:
        return network(**arguments)

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) float of images (N, C, H, W) float in [-1, 1]: the discriminator's pooled feature maps."""
        features: Tensor = self.discriminator.features(images)  # type: ignore[operator]
        return features

    def generate(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images (N, C, H, W) float in [-1, 1] of standard normal latents (N, latent_dim); labels are ignored."""
        images: Tensor = self.generator(latents)
        return images

    def discriminate(self, images: Tensor, labels: Tensor) -> Tensor:
        """Logits (N,) of images (N, C, H, W) float in [-1, 1] with labels (N,) int64."""
        logits: Tensor = self.discriminator(images)
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> StepOutput:
        """One step of the discriminator, then one of the generator, on the same generated images."""
        real, labels = batch["image"], batch["label"]
        drawn, draws_real, draws_generated, draws_generator = self._draws(len(real), real.device)
        generated = self.generate(drawn, labels).float()
        seen = self._objective.seen
        real_logits, terms = self._discriminator_step(
            seen(real, draws_real), seen(generated.detach(), draws_generated), labels
        )
        terms["generator_loss"] = self._generator_step(seen(generated, draws_generator), labels, real_logits)
        terms = {name: term.detach() for name, term in terms.items()}
        return {"loss": terms["generator_loss"], "terms": terms}

    def _discriminator_step(self, real: Tensor, generated: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """One step on augmented images; returns the logits of the real ones before the step, and the step's terms."""

        def logits(images: Tensor) -> Tensor:
            return self.discriminate(images, labels).float()

        objective, step = self._objective, self.images_seen // self.recipe.batch_size
        real_logits, generated_logits = logits(real), logits(generated)
        loss = objective.loss(real_logits, generated_logits).discriminator
        terms = {
            "discriminator_loss": loss,
            "real_logit": real_logits.mean(),
            "generated_logit": generated_logits.mean(),
        }
        penalty = objective.penalty(step, logits, real, generated)
        if penalty is not None:
            terms["penalty"] = penalty
            loss = loss + objective.penalty_every * penalty
        self._minimise(loss, self._optimizer(1))
        return real_logits.detach(), terms

    def _generator_step(self, generated: Tensor, labels: Tensor, real_logits: Tensor) -> Tensor:
        """One step on augmented generated images; returns its loss."""
        self.discriminator.requires_grad_(False)  # the generator's step needs no gradients of these weights
        generated_logits = self.discriminate(generated, labels).float()
        # Only a relativistic loss uses the real logits; those from before the discriminator's step suffice.
        loss = self._objective.loss(real_logits, generated_logits).generator
        self._minimise(loss, self._optimizer(0))
        self.discriminator.requires_grad_(True)
        return loss

    def _optimizer(self, place: int) -> LightningOptimizer:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers[place]

    def _minimise(self, loss: Tensor, optimizer: LightningOptimizer) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def _draws(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """Latents and three sets of random numbers for augmentation.

        All ranks draw the same numbers for the whole batch; each takes those of its own images.
        """
        random = torch.Generator().manual_seed(self.step_seed)
        of_latents = torch.randn(self.recipe.batch_size, self.latent_dim, generator=random)
        augment = torch.rand(3, self.recipe.batch_size, DiffAugment.DRAWS, generator=random)
        share = slice(self.global_rank, None, self.recipe.batch_size // count)
        return tuple(drawn[share].to(device, non_blocking=True) for drawn in (of_latents, *augment))

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

    def configure_optimizers(self) -> Any:
        """The generator's optimiser, then the discriminator's."""
        make = self._optimizers
        return [make.generator(self.generator.parameters()), make.discriminator(self.discriminator.parameters())]


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

    def discriminate(self, images: Tensor, labels: Tensor) -> Tensor:
        """Logits (N,) of images (N, C, H, W) float in [-1, 1] with labels (N,) int64."""
        logits: Tensor = self.discriminator(images, labels)
        return logits

    def sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`samples`: a row for each of the first identities, with the same latents in all rows."""
        rows, columns = min(self.num_classes, _GRID[0]), _GRID[1]
        return {"samples": self._grid(self._fixed(columns).expand(rows, -1, -1), range(rows))}
