"""A generator that varies a given image: another image of the same person."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.decoders import smallest_map
from facelab.nets.discriminators import DownBlock
from facelab.nets.encoders import ImageShape
from facelab.nets.initialise import SLOPE, he_normal, unit_gain

_FARTHEST = 0.25  # largest displacement at a grid point, as a share of half the image
_STRONGEST = 0.5  # largest change of the logarithm of contrast at a grid point, and of brightness


class ImageVariator(nn.Module):
    """Bends an image and changes its light, both smoothly: (N, C, H, W), (N, latent_dim) -> (N, C, H, W).

    Convolutions that halve the image encode it. From the smallest map and the latent come displacements, contrast and
    brightness at the points of a coarse grid, as many as the smallest map has places; between them they are bicubic.
    Transformations in space and in grey levels, learnt from pairs of images, as in Zhao et al., "Data Augmentation
    Using Learned Transformations for One-Shot Medical Image Segmentation", 2019, section 3; a coarse grid as in
    Rueckert et al., "Nonrigid Registration Using Free-Form Deformations", 1999, section II. So the person is in the
    pixels from the start, and whatever the latent, an eye stays an eye: no pixel moves or changes without those around.

    Args:
        latent_dim: length of the latents.
        image_shape: (C, H, W) of the images.
        widths: channels of the encoder's maps, the smallest map first; each has half the height and width of the next.
        code_dim: length of the encoded image.

    Raises:
        ValueError: height or width is not a multiple of 2^len(widths), or an argument is out of range.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        widths: Sequence[int] = (256, 128, 64, 32),
        code_dim: int = 128,
    ) -> None:
        super().__init__()
        height, width = smallest_map(latent_dim, image_shape, widths)
        if code_dim < 1:
            raise ValueError(f"code_dim must be above 0, got {code_dim}")
        channels, size = image_shape[0], widths[0] * height * width
        self.down = nn.Sequential(*(DownBlock(a, b) for a, b in pairwise([channels, *reversed(widths)])))
        self.code = nn.Linear(size, code_dim)
        self.project = nn.Sequential(
            nn.Linear(code_dim + latent_dim, size),
            nn.Unflatten(1, (widths[0], height, width)),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.output = nn.Conv2d(2 * widths[0], 2 + 2 * channels, kernel_size=3, padding=1)
        self.apply(he_normal)
        unit_gain(self.code)
        nn.init.zeros_(self.output.weight)  # at first, an image stays as it is
        self.between = _Bicubic((height, width), image_shape[1:])

    def encode(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, code_dim) float."""
        code: Tensor = self.code(self.down(images).flatten(1))
        return code

    def forward(self, images: Tensor, latents: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1], latents (N, latent_dim) float -> (N, C, H, W) float in [-1, 1]."""
        smallest = self.down(images)
        code = self.code(smallest.flatten(1))
        known = self.project(torch.cat([code, latents.to(code)], dim=1))
        coarse = torch.tanh(self.output(torch.cat([known, smallest], dim=1)).float())
        displacements, contrast, brightness = torch.split(
            self.between(coarse), [2, images.shape[1], images.shape[1]], dim=1
        )
        moved = displaced(images.float(), _FARTHEST * displacements)
        return torch.addcmul(_STRONGEST * brightness, moved, (_STRONGEST * contrast).exp()).clamp(-1, 1)


class _Bicubic(nn.Module):
    """Bicubic interpolation: (N, C, h, w) -> (N, C, H, W).

    The same as `F.interpolate`, whose gradients vary from run to run on a GPU.

    Args:
        points: (h, w).
        size: (H, W).
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, points: tuple[int, int], size: tuple[int, int]) -> None:
        super().__init__()
        for name, few, many in zip(("rows", "columns"), points, size, strict=True):
            weights = F.interpolate(torch.eye(few)[None, None], (many, few), mode="bicubic", align_corners=False)
            self.register_buffer(name, weights[0, 0], persistent=False)  # (many, few)

    def forward(self, coarse: Tensor) -> Tensor:
        """(N, C, h, w) float -> (N, C, H, W) float."""
        tall = (coarse[:, :, None] * self.rows[:, :, None]).sum(dim=3)
        return (tall[..., None, :] * self.columns).sum(dim=4)


def displaced(images: Tensor, displacements: Tensor) -> Tensor:
    """Images whose pixel at each place is that at place plus displacement, between pixels bilinear.

    Args:
        images: (N, C, H, W) float.
        displacements: (N, 2, H, W) float, to the right and down, in halves of width and height; beyond the border is
            the border's pixel.

    Returns:
        (N, C, H, W) float.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device).mul(2).add(1).div(width).sub(1)
    y = torch.arange(height, device=images.device).mul(2).add(1).div(height).sub(1)
    places = torch.stack(torch.meshgrid(x, y, indexing="xy")) + displacements
    return F.grid_sample(images, places.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
