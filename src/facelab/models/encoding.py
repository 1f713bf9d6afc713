"""Adversarial training with an encoder: the generator also learns to make given images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from facelab.losses.reconstruction import absolute_error, feature_error, normal_kl
from facelab.metrics import Metric
from facelab.models.adversarial import AdversarialModule, AdversarialObjective
from facelab.nets.discriminators import Discriminator
from facelab.nets.encoders import ImageShape

_ENCODER_SEED = 0x5EED  # so that its random numbers differ from those of the adversarial step

Weight = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class EncodingObjective(AdversarialObjective):
    """An adversarial objective, with terms that make the generator reconstruct encoded images.

    Arguments as for `AdversarialObjective`, and:

    Args:
        encoder: called with `image_shape` and `latent_dim`, here twice the model's; images (N, C, H, W) -> mean and log
            variance of their latents, (N, 2 latent_dim).
        weight: of all these terms in the generator's loss.
        feature_weight: of the errors in the discriminator's feature maps, relative to that of the pixels.
        maps: number of these feature maps, the first ones.
        kl_weight: of the mean divergence of a latent from the standard normal distribution, relative to the pixels.
        every: apply the terms in every n-th step.
    """

    encoder: Callable[..., nn.Module]
    weight: Weight = 1.0
    feature_weight: Weight = 0.3
    maps: Annotated[int, Field(ge=1)] = 2
    kl_weight: Weight = 0.05
    every: Annotated[int, Field(ge=1)] = 2


class EncodingModule(AdversarialModule):
    """Base of GANs with an `encoder`: their generator also learns to make given images from encoded latents."""

    term_metrics: ClassVar[tuple[Metric, ...]] = (
        *AdversarialModule.term_metrics,
        Metric("reconstruction", "error of reconstructions", higher_is_better=False),
        Metric("kl", "divergence of the latents", higher_is_better=False),
    )

    encoder: nn.Module
    _encoding: EncodingObjective

    def add_encoder(self, objective: EncodingObjective, image_shape: ImageShape) -> None:
        """Make the encoder, of images (C, H, W).

        Raises:
            ValueError: the discriminator has no feature maps to compare.
        """
        if not isinstance(self.discriminator, Discriminator):
            raise ValueError(
                f"discriminator must be a facelab.nets.discriminators.Discriminator, whose feature maps compare "
                f"reconstructions, got {type(self.discriminator).__name__}"
            )
        self.encoder = objective.encoder(image_shape=image_shape, latent_dim=2 * self.latent_dim)
        self._encoding = objective

    def encoding_terms(
        self,
        encoded: Tensor,
        target: Tensor,
        make: Callable[[Tensor], Tensor],
        judged: Callable[[Tensor], Tensor],
        noise: Tensor,
    ) -> dict[str, Tensor]:
        """`reconstruction` and `kl`, weighted.

        Args:
            encoded: what the encoder sees, (N, C, H, W).
            target: images (N, C, H, W) float in [-1, 1] to make from the latents.
            make: latents (N, latent_dim) -> images in [-1, 1].
            judged: images -> what the discriminator gets of them before `detail` is added.
            noise: (N, latent_dim), standard normal.
        """
        weights, discriminator = self._encoding, self.discriminator
        assert isinstance(discriminator, Discriminator)
        mean, log_variance = self.encoder(encoded).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-8, 2)
        made = make(mean + (0.5 * log_variance).exp() * noise).float()
        with torch.no_grad():
            original = discriminator.maps(weights.seen(judged(target)), weights.maps)
        of_features = feature_error(discriminator.maps(weights.seen(judged(made)), weights.maps), original)
        error = absolute_error(made, target) + weights.feature_weight * of_features
        divergence = normal_kl(mean, log_variance) / self.latent_dim
        return {"reconstruction": weights.weight * error, "kl": weights.weight * weights.kl_weight * divergence}

    @property
    def encodes(self) -> bool:
        """Whether this step has these terms."""
        return (self.images_seen // self.recipe.batch_size) % self._encoding.every == 0

    def encoder_draws(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """Uniform numbers (N,) that mirror images, and standard normal noise (N, latent_dim)."""
        random = torch.Generator().manual_seed(self.step_seed ^ _ENCODER_SEED)
        size = self.recipe.batch_size
        flips = torch.rand(size, generator=random)
        return self.own(count, device, flips, torch.randn(size, self.latent_dim, generator=random))

    def generator_parameters(self) -> Iterator[nn.Parameter]:
        """Those of generator and encoder."""
        return chain(self.generator.parameters(), self.encoder.parameters())
