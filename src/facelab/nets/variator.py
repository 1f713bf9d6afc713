"""A generator that varies a given image: another image of the same person."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.decoders import STYLE_DIM, UpBlock, smallest_map, style_network
from facelab.nets.discriminators import DownBlock
from facelab.nets.encoders import ImageShape
from facelab.nets.initialise import SLOPE, he_normal, unit_gain

_KEPT = 2.0  # initial logit of the share of a pixel that is taken from the moved image: 88 %
_FARTHEST = 0.5  # largest displacement, as a share of half the image


class ImageVariator(nn.Module):
    """Moves the pixels of an image and paints over some of them: (N, C, H, W), (N, latent_dim) -> (N, C, H, W).

    Convolutions that halve the image encode it. Transposed convolutions, which also see the encoder's map of their own
    size (Ronneberger et al., "U-Net", 2015), return for each pixel a displacement, a new value, and the share that is
    kept of the moved image; the first as in Jaderberg et al., "Spatial Transformer Networks", 2015, section 3.3, the
    others as in Pumarola et al., "GANimation", 2018, section 4.1. So the person is in the pixels from the start, and
    does not have to pass through a bottleneck, which loses people that it was not trained on. The latent and the
    encoded image scale and shift the channels of each layer, as in `ConvDecoder`.

    Args:
        latent_dim: length of the latents.
        image_shape: (C, H, W) of the images.
        widths: channels of the feature maps, the smallest map first, as for `ConvDecoder`.
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
        channels = image_shape[0]
        self.down = nn.ModuleList(DownBlock(a, b) for a, b in pairwise([channels, *reversed(widths)]))
        size = widths[0] * height * width
        self.code = nn.Linear(size, code_dim)
        self.style = style_network(code_dim + latent_dim)
        self.project = nn.Sequential(
            nn.Linear(code_dim + latent_dim, size),
            nn.Unflatten(1, (widths[0], height, width)),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        blocks = [UpBlock(2 * a, b, STYLE_DIM) for a, b in pairwise(widths)]
        self.up = nn.ModuleList(blocks)
        self.output = nn.ConvTranspose2d(2 * widths[-1], channels + 3, kernel_size=4, stride=2, padding=1)
        self.apply(he_normal)
        unit_gain(self.code)
        unit_gain(self.output)
        nn.init.zeros_(self.output.weight[:, -3:])  # at first, nothing moves, and the same share is kept everywhere
        for block in blocks:
            block.begin_near_identity()

    def encode(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, code_dim) float."""
        return self._encoded(images)[0]

    def _encoded(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The code, and the feature maps, the smallest first."""
        maps = []
        for block in self.down:
            images = block(images)
            maps.append(images)
        return self.code(images.flatten(1)), maps[::-1]

    def forward(self, images: Tensor, latents: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1], latents (N, latent_dim) float -> (N, C, H, W) float in [-1, 1]."""
        code, (smallest, *maps) = self._encoded(images)
        known = torch.cat([code, latents.to(code)], dim=1)
        styles = self.style(known)
        features = torch.cat([self.project(known), smallest], dim=1).contiguous(memory_format=torch.channels_last)
        for block, beside in zip(self.up, maps, strict=True):
            features = torch.cat([block(features, styles), beside], dim=1)
        made = self.output(features).float()
        painted, kept = torch.tanh(made[:, :-3]), torch.sigmoid(made[:, -3:-2] + _KEPT)
        moved = displaced(images.float(), _FARTHEST * torch.tanh(made[:, -2:] / 4))
        return torch.lerp(painted, moved, kept)


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
