"""Encoder of images to the latents of a generator, in the manner of a discriminator."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from facelab.nets.discriminators import DownBlock
from facelab.nets.encoders import ImageShape, last_map
from facelab.nets.initialise import he_normal, unit_gain


class LatentEncoder(nn.Module):
    """Convolution blocks that halve height and width, then a linear map: (N, C, H, W) -> (N, latent_dim).

    It has no normalisation, so an image's latents depend on that image alone, whatever its batch.

    Args:
        image_shape: (C, H, W) of the images.
        latent_dim: length of the latents.
        widths: channels of the blocks; each halves height and width.

    Raises:
        ValueError: the images are too small for this number of blocks, or an argument is out of range.
    """

    def __init__(self, image_shape: ImageShape, latent_dim: int, widths: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        height, width = last_map(image_shape, widths)
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be above 0, got {latent_dim}")
        self.blocks = nn.Sequential(*(DownBlock(a, b) for a, b in pairwise([image_shape[0], *widths])))
        self.project = nn.Linear(widths[-1] * height * width, latent_dim)
        self.apply(he_normal)
        unit_gain(self.project)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, latent_dim) float."""
        latents: Tensor = self.project(self.blocks(images).flatten(1))
        return latents
