"""Losses of autoencoders."""

import torch.nn.functional as F
from torch import Tensor


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
