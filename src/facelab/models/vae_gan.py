"""GANs whose generator also learns to reconstruct real images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from facelab.losses.reconstruction import absolute_error, feature_error, normal_kl
from facelab.metrics import Metric
from facelab.models.adversarial import AdversarialObjective, AdversarialOptimizers
from facelab.models.gan import GAN, ConditionalGAN
from facelab.models.recipe import Recipe
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


class VAEGAN(GAN):
    """A GAN with an encoder: its generator also learns to reconstruct real images from their latents.

    Larsen et al., "Autoencoding beyond Pixels Using a Learned Similarity Metric" (VAE/GAN), 2016, section 2.3. Here the
    discriminator judges images of random latents only, reconstructions are compared in pixels as well, and their errors
    do not train the discriminator. With few images, the generator learns much sooner from reconstructions than from the
    discriminator alone. The encoder is used in training only. Arguments as for `GAN`, with an `EncodingObjective`.

    Raises:
        ValueError: as for `GAN`, or the discriminator has no feature maps to compare.
    """

    term_metrics: ClassVar[tuple[Metric, ...]] = (
        *GAN.term_metrics,
        Metric("reconstruction", "error of reconstructions", higher_is_better=False),
        Metric("kl", "divergence of the latents", higher_is_better=False),
    )

    def __init__(
        self,
        generator: Callable[..., nn.Module],
        discriminator: Callable[..., Discriminator],
        objective: EncodingObjective,
        optimizers: AdversarialOptimizers,
        recipe: Recipe,
        latent_dim: Annotated[int, Field(ge=1)],
        image_shape: ImageShape,
        num_classes: int,
    ) -> None:
        super().__init__(generator, discriminator, objective, optimizers, recipe, latent_dim, image_shape, num_classes)
        if not isinstance(self.discriminator, Discriminator):
            raise ValueError(
                f"discriminator must be a facelab.nets.discriminators.Discriminator, whose feature maps compare "
                f"reconstructions, got {type(self.discriminator).__name__}; or choose facelab.models.GAN"
            )
        self.encoder = objective.encoder(image_shape=image_shape, latent_dim=2 * latent_dim)
        self._encoding = objective

    def further_terms(self, real: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`reconstruction` and `kl`, weighted, in every n-th step."""
        weights, step = self._encoding, self.images_seen // self.recipe.batch_size
        if step % weights.every:
            return {}
        flips, noise = self._encoder_draws(len(real), real.device)
        images = torch.where(flips.view(-1, 1, 1, 1) < 0.5, real, real.flip(3))
        mean, log_variance = self.encoder(images).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-8, 2)
        made = self.generate(mean + (0.5 * log_variance).exp() * noise, labels).float()
        error = absolute_error(made, images) + weights.feature_weight * self._feature_error(made, images)
        divergence = normal_kl(mean, log_variance) / self.latent_dim
        return {"reconstruction": weights.weight * error, "kl": weights.weight * weights.kl_weight * divergence}

    def _feature_error(self, made: Tensor, images: Tensor) -> Tensor:
        assert isinstance(self.discriminator, Discriminator)
        with torch.no_grad():
            original = self.discriminator.maps(self._encoding.seen(images), self._encoding.maps)
        return feature_error(self.discriminator.maps(self._encoding.seen(made), self._encoding.maps), original)

    def _encoder_draws(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """Uniform numbers (N,) that mirror images, and standard normal noise (N, latent_dim)."""
        random = torch.Generator().manual_seed(self.step_seed ^ _ENCODER_SEED)
        size = self.recipe.batch_size
        flips = torch.rand(size, generator=random)
        return self.own(count, device, flips, torch.randn(size, self.latent_dim, generator=random))

    def generator_parameters(self) -> Iterator[nn.Parameter]:
        """Those of generator and encoder."""
        return chain(self.generator.parameters(), self.encoder.parameters())


class ConditionalVAEGAN(ConditionalGAN, VAEGAN):
    """A conditional GAN with an encoder: the generator also reconstructs real images from their latents and labels.

    Bao et al., "CVAE-GAN: Fine-Grained Image Generation through Asymmetric Training", 2017, without its classifier.
    Since the label is given, the latents need not hold the identity. Arguments as for `VAEGAN`.
    """
