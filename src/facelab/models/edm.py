"""Denoising diffusion as pure functions: preconditioning, training loss, sampler.

Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (EDM), 2022. A noise level sigma is
the standard deviation of the Gaussian noise that is added to images in [-1, 1].
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

# Noisy images (N, C, H, W) scaled to unit variance, and (N,) numbers that tell the noise level -> (N, C, H, W).
Network = Callable[[Tensor, Tensor], Tensor]
# Noisy images (N, C, H, W) and noise levels (N,) -> images (N, C, H, W).
Denoiser = Callable[[Tensor, Tensor], Tensor]

# Table 1 of the paper.
DATA_SD = 0.5  # sigma_data, the standard deviation of the images
LEAST_NOISE, MOST_NOISE = 0.002, 80.0  # sigma_min and sigma_max of sampling
CURVATURE = 7.0  # rho: how much shorter sampling steps are at low noise
LOG_MEAN, LOG_SD = -1.2, 1.2  # P_mean and P_std: ln(sigma) of training is normal


class Preconditioning(NamedTuple):
    """Factors of equation 7, each of the shape of the noise levels.

    Attributes:
        skip: of the noisy images, added to the output.
        output: of the network's output.
        input: of the noisy images that the network sees, which so have unit variance.
        noise: the number that tells the network the noise level.
    """

    skip: Tensor
    output: Tensor
    input: Tensor
    noise: Tensor


def preconditioning(sigma: Tensor) -> Preconditioning:
    """The factors for noise levels of any shape, above 0: table 1, "network and preconditioning"."""
    variance = sigma.square() + DATA_SD**2
    return Preconditioning(
        skip=DATA_SD**2 / variance,
        output=sigma * DATA_SD / variance.sqrt(),
        input=variance.rsqrt(),
        noise=sigma.log() / 4,
    )


def denoise(network: Network, noisy: Tensor, sigma: Tensor) -> Tensor:
    """Estimate images from noisy ones: equation 7.

    Args:
        network: F of the paper.
        noisy: (N, C, H, W) float.
        sigma: (N,) float, noise levels above 0.

    Returns:
        (N, C, H, W) float32.
    """
    factors = preconditioning(sigma)
    skip, output, scale = (factor[:, None, None, None] for factor in factors[:3])
    return skip * noisy + output * network(scale * noisy, factors.noise).float()


def denoising_losses(network: Network, images: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Weighted mean squared error of each denoised image: equation 8, with the weight 1 / c_out^2 of table 1.

    At every noise level, the loss of a network that returns 0 is about 1.

    Args:
        network: F of the paper.
        images: (N, C, H, W) float in [-1, 1].
        noise: (N, C, H, W) standard normal.
        sigma: (N,) float, noise levels above 0.

    Returns:
        (N,) float32, not below 0.
    """
    denoised = denoise(network, images + sigma[:, None, None, None] * noise, sigma)
    return (denoised - images).square().mean(dim=(1, 2, 3)) / preconditioning(sigma).output.square()


def training_noise(drawn: Tensor) -> Tensor:
    """Log-normal noise levels of training from standard normal numbers of any shape: table 1, "noise distribution"."""
    return (LOG_MEAN + LOG_SD * drawn).exp()


def sampling_noise(steps: int) -> list[float]:
    """Falling noise levels of sampling, and a last 0: equation 5; one level is `MOST_NOISE` alone.

    Args:
        steps: number of steps, at least 1.
    """
    most, least = MOST_NOISE ** (1 / CURVATURE), LEAST_NOISE ** (1 / CURVATURE)
    shares = [step / max(1, steps - 1) for step in range(steps)]
    return [*((most + share * (least - most)) ** CURVATURE for share in shares), 0.0]


def heun(denoiser: Denoiser, noise: Tensor, steps: int) -> Tensor:
    """Turn noise into images along the probability flow: Heun's second-order method, algorithm 1 without churn.

    Args:
        denoiser: D of the paper, called 2 * steps - 1 times.
        noise: (N, C, H, W) standard normal; equal noise gives equal images.
        steps: number of steps, at least 1.

    Returns:
        Images (N, C, H, W) float, of about the range of the training images.
    """

    def slope(images: Tensor, sigma: float) -> Tensor:
        levels = torch.full_like(images[:, 0, 0, 0], sigma)
        return (images - denoiser(images, levels)) / sigma

    levels = sampling_noise(steps)
    images = levels[0] * noise
    for now, then in pairwise(levels):
        here = slope(images, now)
        ahead = images + (then - now) * here
        images = ahead if then == 0 else images + (then - now) * (here + slope(ahead, then)) / 2
    return images
