"""Normalisation of lighting: per image, or per neighbourhood of every pixel."""

import torch
from torch import Tensor, nn


def standardise(images: Tensor) -> Tensor:
    """Scale every image to mean 0 and standard deviation 1, which removes its overall brightness and contrast.

    Args:
        images: (N, C, H, W) float.

    Returns:
        (N, C, H, W) float; an image of one colour becomes all zeros.
    """
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    deviation = images.std(dim=(1, 2, 3), keepdim=True, correction=0)
    return (images - mean) / deviation.clamp_min(1e-3)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; weights outside the image are dropped and the others renormalised.

    Args:
        images: (N, C, H, W) float.
        sigma: standard deviation of the Gaussian, in pixels, above 0.

    Returns:
        (N, C, H, W) float.
    """
    # Two matrix products cost a tenth of a convolution with such a wide kernel.
    rows, columns = (_gaussian(side, sigma).to(images) for side in images.shape[2:])
    return rows @ images @ columns.T


def _gaussian(side: int, sigma: float) -> Tensor:
    """Weight matrix (side, side); row i holds the weights for the mean around pixel i."""
    place = torch.arange(side, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((place[:, None] - place) / sigma).square())
    return weights / weights.sum(dim=1, keepdim=True)


class LocalContrastNormalisation(nn.Module):
    """Removes shadows: logarithm of the grey levels, then mean 0 and contrast 1 in every neighbourhood.

    Light multiplies a surface's reflectance, so it is additive in the logarithm; subtracting the mean of a
    neighbourhood removes light that changes slowly (homomorphic filtering; Land and McCann, "Lightness and Retinex
    Theory", 1971). The subtractive and divisive steps follow Jarrett et al., "What is the Best Multi-Stage Architecture
    for Object Recognition?", 2009, section 2.2, with one contrast for all channels. Tan and Triggs, "Enhanced Local
    Texture Feature Sets for Face Recognition under Difficult Lighting Conditions", 2010, use a power instead of the
    logarithm and a difference of Gaussians. The module has no weights.

    Args:
        sigma: standard deviation of the Gaussian neighbourhood, as a share of the image's shorter side.
        offset: added to grey levels in [0, 1] before the logarithm, so that noise in dark areas is not amplified.
        floor: contrast relative to the whole image's, below which a neighbourhood is not raised to 1.

    Raises:
        ValueError: an argument is not above 0.
    """

    def __init__(self, sigma: float = 0.1, offset: float = 0.1, floor: float = 0.2) -> None:
        super().__init__()
        for name, value in (("sigma", sigma), ("offset", offset), ("floor", floor)):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        self.sigma, self.offset, self.floor = sigma, offset, floor

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, C, H, W) float32, roughly in [-5, 5]; a constant image becomes zeros."""
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 cannot resolve the small differences
            levels = ((images.float() + 1) / 2).clamp_min(0)
            logarithms = standardise((levels + self.offset).log())
            sigma = self.sigma * min(images.shape[2:])
            detail = logarithms - blur(logarithms, sigma)
            variance = blur(detail.square().mean(dim=1, keepdim=True), sigma)
            normalised = detail / (variance + self.floor**2).sqrt()
        return normalised.contiguous(memory_format=torch.channels_last)
