"""Losses of autoencoders."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST = 1e-3  # added to the means that are divided by


def squared_error(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Mean squared error over images, channels and pixels.

    Args:
        reconstruction: (N, C, H, W) float in [-1, 1].
        original: (N, C, H, W) float in [-1, 1].

    Returns:
        Scalar, not below 0.
    """
    return F.mse_loss(reconstruction, original)


def absolute_error(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Mean absolute error over images, channels and pixels; less sensitive to outliers than `squared_error`.

    Args:
        reconstruction: (N, C, H, W) float in [-1, 1].
        original: (N, C, H, W) float in [-1, 1].

    Returns:
        Scalar, not below 0.
    """
    return F.l1_loss(reconstruction, original)


def feature_error(reconstructed: Sequence[Tensor], original: Sequence[Tensor]) -> Tensor:
    """Absolute error relative to the original's mean absolute value, summed over feature maps, averaged over images.

    Larsen et al., "Autoencoding beyond Pixels Using a Learned Similarity Metric", 2016, section 2.3, compare
    reconstructions by the discriminator's feature maps; here by relative errors, so that maps of any scale count alike.

    Args:
        reconstructed: maps (N, C_i, H_i, W_i) float of reconstructions.
        original: the same of the originals.

    Returns:
        Scalar, not below 0.
    """
    errors = [
        _per_image(made - true) / (_per_image(true) + _LEAST)
        for made, true in zip(reconstructed, original, strict=True)
    ]
    return torch.stack(errors).sum(dim=0).mean()


def _per_image(maps: Tensor) -> Tensor:
    return maps.abs().flatten(1).mean(dim=1)


def normal_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a diagonal normal distribution from the standard normal, averaged over images.

    Kingma and Welling, "Auto-Encoding Variational Bayes", 2014, appendix B, with the opposite sign.

    Args:
        mean: (N, D) float.
        log_variance: (N, D) float.

    Returns:
        Scalar, in nats per image, not below 0.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
