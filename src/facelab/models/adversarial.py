"""Adversarial training of a generator and a discriminator: what all GANs share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from facelab.losses.adversarial import AdversarialTerms
from facelab.metrics import Metric
from facelab.models.base import FaceModule, StepOutput
from facelab.models.recipe import Recipe
from facelab.models.trial import spread, try_loss
from facelab.nets.diffaugment import DiffAugment
from facelab.nets.encoders import ImageShape
from facelab.nets.light import LocalContrastNormalisation


@dataclass(frozen=True)
class AdversarialObjective:
    """Losses, penalties and augmentation of adversarial training.

    Args:
        loss: called with logits of real and of generated images; returns one term for each network.
        penalties: each called with the discriminator, real and generated images; added to the discriminator's loss.
        penalty_every: apply the penalties in every n-th step, weighted n times (lazy regularisation, Karras et al.,
            "Analyzing and Improving the Image Quality of StyleGAN", 2020, section 3.1).
        augment: augmentation of real and generated images before the discriminator; None for no augmentation.
        detail: called with images (N, C, H, W); what it returns, halved, is shown to the discriminator as C further
            channels, since one that sees grey levels alone overlooks details of low contrast. None for images alone.
    """

    loss: Callable[..., AdversarialTerms]
    penalties: Sequence[Callable[..., Tensor]] = ()
    penalty_every: Annotated[int, Field(ge=1)] = 1
    augment: DiffAugment | None = None
    detail: LocalContrastNormalisation | None = None

    def augmented(self, images: Tensor, draws: Tensor) -> Tensor:
        """Augment images (N, C, H, W) for the discriminator; `draws` are the random numbers of the augmentation."""
        return images if self.augment is None else self.augment(images, draws)

    def seen(self, images: Tensor) -> Tensor:
        """What the discriminator sees of images: (N, C, H, W), or (N, 2 C, H, W) with `detail`."""
        return images if self.detail is None else torch.cat([images, 0.5 * self.detail(images)], dim=1)

    def seen_shape(self, image_shape: ImageShape) -> ImageShape:
        """The shape of what the discriminator sees of images of shape (C, H, W)."""
        channels, height, width = image_shape
        return (channels if self.detail is None else 2 * channels), height, width

    def penalty(self, step: int, logits: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor) -> Tensor | None:
        """Sum of the penalties, a scalar; None on steps that have none.

        Args:
            step: number of steps before this one.
            logits: the discriminator, (N, C, H, W) -> logits (N,).
            real: what it sees of augmented real images, (N, C, H, W).
            generated: what it sees of augmented generated images, (N, C, H, W).
        """
        if not self.penalties or step % self.penalty_every:
            return None
        return torch.stack([penalty(logits, real, generated) for penalty in self.penalties]).sum()

    def try_out(self, seen_shape: ImageShape) -> None:
        """Call the loss and the penalties on a trial.

        Args:
            seen_shape: (C, H, W) of what the discriminator sees.

        Raises:
            ValueError: one of them fails, or has no gradient.
        """
        two = "a function of logits of real and of generated images, such as facelab.losses.relativistic_logistic."
        for name in ("discriminator", "generator"):
            try_loss(f"objective.loss ({name})", two, partial(_term, self.loss, name), spread(2, 3))
        three = "a function of the discriminator, real and generated images, such as facelab.losses.r1."
        for number, penalty in enumerate(self.penalties):
            of_weight = partial(_of_weight, penalty, spread(2, *seen_shape))
            try_loss(f"objective.penalties.{number}", three, of_weight, torch.tensor(0.5))


def _term(loss: Callable[..., AdversarialTerms], name: str, logits: Tensor) -> Tensor:
    """The term of one network, of logits (2, N) of real and of generated images."""
    term: Tensor = getattr(loss(*logits), name)
    return term


def _of_weight(penalty: Callable[..., Tensor], images: Tensor, weight: Tensor) -> Tensor:
    """The penalty of a discriminator with a single weight."""

    def logits(seen: Tensor) -> Tensor:
        return weight * seen.square().flatten(1).mean(dim=1)

    return penalty(logits, images, images.flip(0))


@dataclass(frozen=True)
class AdversarialOptimizers:
    """Optimisers of the generator and the discriminator.

    Args:
        generator: called with the generator's parameters.
        discriminator: called with the discriminator's parameters.
    """

    generator: Callable[..., torch.optim.Optimizer]
    discriminator: Callable[..., torch.optim.Optimizer]


class AdversarialModule(FaceModule):
    """Base class of models that train a `generator` and a `discriminator` against each other.

    Args:
        objective: losses, penalties and augmentation.
        optimizers: an optimiser for each network.
        recipe: batch size, length, schedule and averaging.
        latent_dim: length of the latents.
    """

    term_metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("generator_loss", "loss of the generator", higher_is_better=False),
        Metric("discriminator_loss", "loss of the discriminator", higher_is_better=False),
        Metric("penalty", "penalties", higher_is_better=False),
    )
    optimizer_keys: ClassVar[str] = "model.optimizers.generator, model.optimizers.discriminator"

    generator: nn.Module
    discriminator: nn.Module

    def __init__(
        self, objective: AdversarialObjective, optimizers: AdversarialOptimizers, recipe: Recipe, latent_dim: int
    ) -> None:
        super().__init__(recipe)
        self.automatic_optimization = False
        self.latent_dim = latent_dim
        self._objective, self._optimizers = objective, optimizers

    @property
    def validation_metrics(self) -> tuple[Metric, ...]:
        """None: the losses of adversarial training tell nothing of the quality of images."""
        return ()

    @property
    def undecided_loss(self) -> float:
        """Loss of a discriminator that gives every image the same logit; 0 for Wasserstein's."""
        return float(self._objective.loss(torch.zeros(1), torch.zeros(1)).discriminator)

    def adversarial_step(
        self,
        real: Tensor,
        generated: Tensor,
        draws: Sequence[Tensor],
        logits: Callable[[Tensor], Tensor],
        further: Callable[[], dict[str, Tensor]] = dict,
    ) -> StepOutput:
        """One step of the discriminator, then one of the generator.

        Args:
            real: (N, C, H, W) float, what the discriminator takes for real.
            generated: (N, C, H, W) float, with the gradients of the generator.
            draws: three sets of random numbers for augmentation, as `draws` returns them.
            logits: the discriminator, from what it sees of images to (N,).
            further: returns terms that are added to the generator's loss, by name.
        """
        of_real, of_generated, of_generator = draws
        real_logits, terms = self._discriminator_step(
            self._shown(real, of_real), self._shown(generated.detach(), of_generated), logits
        )
        terms |= self._generator_step(self._shown(generated, of_generator), real_logits, logits, further)
        terms = {name: term.detach() for name, term in terms.items()}
        return {"loss": terms["generator_loss"], "terms": terms}

    def _shown(self, images: Tensor, draws: Tensor) -> Tensor:
        """What the discriminator sees of images in training."""
        return self._objective.seen(self._objective.augmented(images, draws))

    def _discriminator_step(
        self, real: Tensor, generated: Tensor, logits: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step on what is seen; returns the logits of the real images before the step, and the step's terms."""
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

    def _generator_step(
        self,
        generated: Tensor,
        real_logits: Tensor,
        logits: Callable[[Tensor], Tensor],
        further: Callable[[], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """One step on what is seen of generated images; returns its terms."""
        self.discriminator.requires_grad_(False)  # the generator's step needs no gradients of these weights
        generated_logits = logits(generated)
        # Only a relativistic loss uses the real logits. Those from before the discriminator's step save a pass, and
        # differ by what one step moves them.
        terms = {"generator_loss": self._objective.loss(real_logits, generated_logits).generator, **further()}
        self._minimise(torch.stack(list(terms.values())).sum(), self._optimizer(0))
        self.discriminator.requires_grad_(True)
        return terms

    def _optimizer(self, place: int) -> LightningOptimizer:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers[place]

    def _minimise(self, loss: Tensor, optimizer: LightningOptimizer) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def draws(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """Latents (N, latent_dim), and three sets of random numbers for augmentation, (N, DiffAugment.DRAWS) each.

        All ranks draw the same numbers for the whole batch; each takes those of its own images.
        """
        random = torch.Generator().manual_seed(self.step_seed)
        of_latents = torch.randn(self.recipe.batch_size, self.latent_dim, generator=random)
        augment = torch.rand(3, self.recipe.batch_size, DiffAugment.DRAWS, generator=random)
        return self.own(count, device, of_latents, *augment)

    def own(self, count: int, device: torch.device, *drawn: Tensor) -> tuple[Tensor, ...]:
        """The part of random numbers for the whole batch that belongs to the N images of this rank."""
        share = slice(self.global_rank, None, self.recipe.batch_size // count)
        return tuple(one[share].to(device, non_blocking=True) for one in drawn)

    def configure_optimizers(self) -> Any:
        """The generator's optimiser, then the discriminator's."""
        make = self._optimizers
        return [make.generator(self.generator_parameters()), make.discriminator(self.discriminator.parameters())]

    def generator_parameters(self) -> Iterator[nn.Parameter]:
        """What the generator's optimiser trains."""
        return self.generator.parameters()
