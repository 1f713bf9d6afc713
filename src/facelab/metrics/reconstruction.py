"""How near a reconstructed picture is to the original, as pure functions."""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def squared_errors(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Mean squared error of every picture, on the scale of grey levels in [0, 1].

    Args:
        reconstruction: (N, C, H, W) float in [-1, 1].
        original: (N, C, H, W) float in [-1, 1].

    Returns:
        (N,) in [0, 1].
    """
    return ((reconstruction - original) / 2).square().mean(dim=(1, 2, 3))


def psnr_db(squared_error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, in dB, of a mean squared error on the scale of grey levels in [0, 1]; at most 100."""
    return -10 * torch.log10(squared_error.clamp_min(1e-10))


def ssim(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Structural similarity of every picture (Wang et al., "Image Quality Assessment: From Error Visibility to
    Structural Similarity", 2004, equation 13), as torchmetrics computes it.

    Args:
        reconstruction: (N, C, H, W) float in [-1, 1]; H and W at least 11.
        original: (N, C, H, W) float in [-1, 1].

    Returns:
        (N,) in [-1, 1]; NaN for pictures smaller than 11 pixels, the width of its window.
    """
    if min(original.shape[2:]) < 11:
        return torch.full((len(original),), torch.nan, device=original.device)
    with torch.autocast(original.device.type, enabled=False):  # variances are differences of nearly equal numbers
        # On grey levels from 0: the comparison of mean light would mean nothing around 0.
        levels = [(images + 1) / 2 for images in (reconstruction, original)]
        found = structural_similarity_index_measure(levels[0], levels[1], data_range=1.0, reduction="none")
    assert isinstance(found, Tensor)
    return found
