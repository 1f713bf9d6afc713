"""Losses of generative adversarial networks, and penalties on the discriminator's gradient.

A logit is the discriminator's raw output: the higher, the more it takes a picture for a real one. Every adversarial
loss is a pair of one term for the discriminator and one for the generator, both to be minimised, made of the same two
arguments: logits (N,) of N real pictures and of N generated ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Discriminate = Callable[[Tensor], Tensor]  # pictures (N, C, H, W) -> logits (N,)


class AdversarialTerms(NamedTuple):
    """Two scalars: the discriminator minimises one, the generator the other."""

    discriminator: Tensor
    generator: Tensor


def non_saturating(real_logits: Tensor, generated_logits: Tensor) -> AdversarialTerms:
    """Goodfellow et al., "Generative Adversarial Nets", 2014: equation 1 for the discriminator, and for the generator
    -log D(G(z)) in place of log(1 - D(G(z))), as the end of section 3 advises.

    Args:
        real_logits: (N,).
        generated_logits: (N,).

    Returns:
        Two scalars, in nats, not below 0.
    """
    discriminator = F.softplus(-real_logits).mean() + F.softplus(generated_logits).mean()
    return AdversarialTerms(discriminator, F.softplus(-generated_logits).mean())


def hinge(real_logits: Tensor, generated_logits: Tensor) -> AdversarialTerms:
    """Lim and Ye, "Geometric GAN", 2017; Miyato et al., "Spectral Normalization for Generative Adversarial Networks",
    2018, equations 16 and 17.

    Args:
        real_logits: (N,).
        generated_logits: (N,).

    Returns:
        Two scalars; the generator's has no bound.
    """
    discriminator = F.relu(1 - real_logits).mean() + F.relu(1 + generated_logits).mean()
    return AdversarialTerms(discriminator, -generated_logits.mean())


def wasserstein(real_logits: Tensor, generated_logits: Tensor) -> AdversarialTerms:
    """Gulrajani et al., "Improved Training of Wasserstein GANs" (WGAN-GP), 2017, equation 3 without its last term,
    which is `interpolated_gradient_penalty`.

    Args:
        real_logits: (N,).
        generated_logits: (N,).

    Returns:
        Two scalars without bounds.
    """
    return AdversarialTerms(generated_logits.mean() - real_logits.mean(), -generated_logits.mean())


def relativistic_logistic(real_logits: Tensor, generated_logits: Tensor) -> AdversarialTerms:
    """Jolicoeur-Martineau, "The Relativistic Discriminator", 2019 (RSGAN); Huang et al., "The GAN is dead; long live
    the GAN!" (R3GAN), 2024, equation 2 with f(t) = -log(1 + exp(-t)), the generator's term turned round as in RSGAN:
    real pictures are to look more real than generated ones, pair by pair.

    Args:
        real_logits: (N,).
        generated_logits: (N,), the i-th is compared with the i-th real one.

    Returns:
        Two scalars, in nats, not below 0.
    """
    lead = real_logits - generated_logits
    return AdversarialTerms(F.softplus(-lead).mean(), F.softplus(lead).mean())


def r1(discriminate: Discriminate, real: Tensor, generated: Tensor, *, gamma: float = 1.0) -> Tensor:
    """gamma / 2 times the mean squared norm of the logit's gradient at real pictures.

    Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do actually Converge?", 2018, equation 9.

    Args:
        discriminate: pictures (N, C, H, W) -> logits (N,); a picture's logit must depend on that picture alone.
        real: (N, C, H, W) float.
        generated: (N, C, H, W) float; not looked at.
        gamma: weight, above 0.

    Returns:
        Scalar, not below 0.
    """
    return gamma / 2 * _squared_gradient_norm(discriminate, real).mean()


def r2(discriminate: Discriminate, real: Tensor, generated: Tensor, *, gamma: float = 1.0) -> Tensor:
    """As `r1`, at generated pictures: Mescheder et al., 2018, equation 10.

    Args:
        discriminate: pictures (N, C, H, W) -> logits (N,); a picture's logit must depend on that picture alone.
        real: (N, C, H, W) float; not looked at.
        generated: (N, C, H, W) float.
        gamma: weight, above 0.

    Returns:
        Scalar, not below 0.
    """
    return gamma / 2 * _squared_gradient_norm(discriminate, generated).mean()


def interpolated_gradient_penalty(
    discriminate: Discriminate, real: Tensor, generated: Tensor, *, weight: float = 10.0
) -> Tensor:
    """weight times the mean of (norm of the logit's gradient - 1) squared, between real and generated pictures.

    Gulrajani et al., "Improved Training of Wasserstein GANs" (WGAN-GP), 2017, equation 3, last term. Where between, is
    drawn uniformly for every pair.

    Args:
        discriminate: pictures (N, C, H, W) -> logits (N,); a picture's logit must depend on that picture alone.
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
    """(N,), differentiable."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminate(images).sum(), images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3))
