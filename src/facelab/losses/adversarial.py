"""Losses of generative adversarial networks (GANs) and gradient penalties for the discriminator.

A logit is the discriminator's raw output; higher means more real. Every adversarial loss takes the logits (N,) of N
real and N generated images, and returns one term for the discriminator and one for the generator. Each network
minimises its own term.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Discriminate = Callable[[Tensor], Tensor]  # images (N, C, H, W) -> logits (N,)


class AdversarialTerms(NamedTuple):
    """The scalar loss of the discriminator and that of the generator."""

    discriminator: Tensor
    generator: Tensor


def non_saturating(real_logits: Tensor, generated_logits: Tensor) -> AdversarialTerms:
    """Non-saturating GAN loss: the generator minimises -log D(G(z)) instead of log(1 - D(G(z))).

    Goodfellow et al., "Generative Adversarial Nets", 2014: equation 1 for the discriminator, end of section 3 for the
    generator.

    Args:
        real_logits: (N,).
        generated_logits: (N,).

    Returns:
        Two scalars, in nats, not below 0.
    """
    discriminator = F.softplus(-real_logits).mean() + F.softplus(generated_logits).mean()
    return AdversarialTerms(discriminator, F.softplus(-generated_logits).mean())


def hinge(real_logits: Tensor, generated_logits: Tensor) -> AdversarialTerms:
    """Hinge GAN loss.

    Lim and Ye, "Geometric GAN", 2017; Miyato et al., "Spectral Normalization for Generative Adversarial Networks",
    2018, equations 16 and 17.

    Args:
        real_logits: (N,).
        generated_logits: (N,).

    Returns:
        Two scalars; the generator's is unbounded.
    """
    discriminator = F.relu(1 - real_logits).mean() + F.relu(1 + generated_logits).mean()
    return AdversarialTerms(discriminator, -generated_logits.mean())


def wasserstein(real_logits: Tensor, generated_logits: Tensor) -> AdversarialTerms:
    """Wasserstein GAN loss; combine it with `interpolated_gradient_penalty`.

    Gulrajani et al., "Improved Training of Wasserstein GANs" (WGAN-GP), 2017, equation 3 without its last term, the
    penalty.

    Args:
        real_logits: (N,).
        generated_logits: (N,).

    Returns:
        Two unbounded scalars.
    """
    return AdversarialTerms(generated_logits.mean() - real_logits.mean(), -generated_logits.mean())


def relativistic_logistic(real_logits: Tensor, generated_logits: Tensor) -> AdversarialTerms:
    """Relativistic GAN loss: the discriminator compares real and generated images pair by pair.

    Jolicoeur-Martineau, "The Relativistic Discriminator", 2019 (RSGAN); Huang et al., "The GAN is dead; long live the
    GAN!" (R3GAN), 2024, equation 2 with f(t) = -log(1 + exp(-t)). The generator's term swaps real and generated, as in
    RSGAN.

    Args:
        real_logits: (N,).
        generated_logits: (N,); entry i is compared with entry i of `real_logits`.

    Returns:
        Two scalars, in nats, not below 0.
    """
    lead = real_logits - generated_logits
    return AdversarialTerms(F.softplus(-lead).mean(), F.softplus(lead).mean())


def r1(discriminate: Discriminate, real: Tensor, generated: Tensor, *, gamma: float = 1.0) -> Tensor:
    """R1 penalty: gamma / 2 times the mean squared norm of the logit's gradient at real images.

    Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do actually Converge?", 2018, equation 9.

    Args:
        discriminate: images (N, C, H, W) -> logits (N,); an image's logit must depend on that image alone.
        real: (N, C, H, W) float.
        generated: (N, C, H, W) float; unused.
        gamma: weight, above 0.

    Returns:
        Scalar, not below 0.
    """
    return gamma / 2 * _squared_gradient_norm(discriminate, real).mean()


def r2(discriminate: Discriminate, real: Tensor, generated: Tensor, *, gamma: float = 1.0) -> Tensor:
    """R2 penalty: as `r1`, at generated images. Mescheder et al., 2018, equation 10.

    Args:
        discriminate: images (N, C, H, W) -> logits (N,); an image's logit must depend on that image alone.
        real: (N, C, H, W) float; unused.
        generated: (N, C, H, W) float.
        gamma: weight, above 0.

    Returns:
        Scalar, not below 0.
    """
    return gamma / 2 * _squared_gradient_norm(discriminate, generated).mean()


def interpolated_gradient_penalty(
    discriminate: Discriminate, real: Tensor, generated: Tensor, *, weight: float = 10.0
) -> Tensor:
    """WGAN-GP penalty: weight times the mean of (gradient norm - 1)^2 between real and generated images.

    Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, equation 3, last term. Each pair is interpolated
    at a uniformly drawn point.

    Args:
        discriminate: images (N, C, H, W) -> logits (N,); an image's logit must depend on that image alone.
        real: (N, C, H, W) float.
        generated: (N, C, H, W) float.
        weight: lambda of the paper, above 0.

    Returns:
        Scalar, not below 0.
    """
    place = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
    norm = (_squared_gradient_norm(discriminate, torch.lerp(real, generated, place)) + 1e-12).sqrt()
    return weight * (norm - 1).square().mean()


def _squared_gradient_norm(discriminate: Discriminate, images: Tensor) -> Tensor:
    """Squared norm (N,) of the gradient of each logit with respect to its image; differentiable."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminate(images).sum(), images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3))
