"""Metrics of reconstructed images against the originals."""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def squared_errors(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Mean squared error of every image, for grey levels in [0, 1].

    Args:
        reconstruction: (N, C, H, W) float in [-1, 1].
        original: (N, C, H, W) float in [-1, 1].

    Returns:
        (N,) in [0, 1].
    """
    return ((reconstruction - original) / 2).square().mean(dim=(1, 2, 3))


def psnr_db(squared_error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, at most 100, of a mean squared error for grey levels in [0, 1]."""
    return -10 * torch.log10(squared_error.clamp_min(1e-10))


def ssim(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Structural similarity (SSIM) of every image, computed by torchmetrics.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004, equation 13.

    Args:
        reconstruction: (N, C, H, W) float in [-1, 1].
        original: (N, C, H, W) float in [-1, 1].

    Returns:
        (N,) in [-1, 1]; NaN for images smaller than 11 pixels, the width of the window.
    """
    if min(original.shape[2:]) < 11:
        return torch.full((len(original),), torch.nan, device=original.device)
    with torch.autocast(original.device.type, enabled=False):  # variances are differences of nearly equal numbers
        # SSIM compares mean luminance, which must not be negative.
        levels = [(images + 1) / 2 for images in (reconstruction, original)]
        found = structural_similarity_index_measure(levels[0], levels[1], data_range=1.0, reduction="none")
    assert isinstance(found, Tensor)
    return found
