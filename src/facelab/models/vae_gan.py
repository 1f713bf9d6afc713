"""GANs whose generator also learns to reconstruct real images."""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from facelab.models.adversarial import AdversarialOptimizers
from facelab.models.encoding import EncodingModule, EncodingObjective
from facelab.models.gan import GAN, ConditionalGAN
from facelab.models.recipe import Recipe
from facelab.nets.discriminators import Discriminator
from facelab.nets.encoders import ImageShape


class VAEGAN(EncodingModule, GAN):
    """A GAN with an encoder: its generator also learns to reconstruct real images from their latents.

    Larsen et al., "Autoencoding beyond Pixels Using a Learned Similarity Metric" (VAE/GAN), 2016, section 2.3. Here the
    discriminator judges images of random latents only, reconstructions are compared in pixels as well, and their errors
    do not train the discriminator. With few images, the generator learns much sooner from reconstructions than from the
    discriminator alone. The encoder is used in training only. Arguments as for `GAN`, with an `EncodingObjective`.

    Raises:
        ValueError: as for `GAN`, or the discriminator has no feature maps to compare.
    """

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
        self.add_encoder(objective, image_shape)

    def further_terms(self, real: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`reconstruction` and `kl`, weighted, in every n-th step."""
        if not self.encodes:
            return {}
        flips, noise = self.encoder_draws(len(real), real.device)
        images = torch.where(flips.view(-1, 1, 1, 1) < 0.5, real, real.flip(3))

        def make(latents: Tensor) -> Tensor:
            return self.generate(latents, labels)

        return self.encoding_terms(images, images, make, lambda made: made, noise)


class ConditionalVAEGAN(ConditionalGAN, VAEGAN):
    """A conditional GAN with an encoder: the generator also reconstructs real images from their latents and labels.

    Bao et al., "CVAE-GAN: Fine-Grained Image Generation through Asymmetric Training", 2017, without its classifier.
    Since the label is given, the latents need not hold the identity. Arguments as for `VAEGAN`.
    """
