"""Local binary patterns, a descriptor of texture that is computed and not learned."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.encoders import ImageShape

_NEIGHBOURS = 8
_BINS = 59  # 58 uniform patterns of 8 neighbours, and one bin for all others
_LUMA = (0.299, 0.587, 0.114)  # grey of red, green and blue: ITU-R BT.601
_TIE = 1e-4  # of grey levels in [-1, 1]: rounding must not decide between equal pixels


class LocalBinaryPatterns(nn.Module):
    """Histograms of uniform local binary patterns in the cells of a grid, at several radii.

    Ojala, Pietikäinen and Mäenpää, "Multiresolution Gray-Scale and Rotation Invariant Texture Classification with Local
    Binary Patterns", 2002; histograms in cells as in Ahonen, Hadid and Pietikäinen, "Face Description with Local Binary
    Patterns", 2006. A pattern says which of 8 neighbours on a circle are at least as bright as the centre; it is
    uniform if the ring changes at most twice. Each histogram is the square root of its shares, so that it has length 1
    (Arandjelović and Zisserman, "Three things everyone should know to improve object retrieval", 2012). Colour is
    converted to grey. The module has no weights.

    Args:
        image_shape: (C, H, W) of the images, C 1 or 3.
        radii: of the circles, in pixels.
        cells: rows and columns of the grid.

    Raises:
        ValueError: an argument is out of range, or the images are smaller than the grid or have other channels.
    """

    table: Tensor

    def __init__(self, image_shape: ImageShape, radii: Sequence[float] = (1, 2, 4), cells: int = 9) -> None:
        super().__init__()
        channels, height, width = image_shape
        if not radii or min(radii) < 1 or cells < 1:
            raise ValueError(f"radii and cells must be at least 1, got {[*radii, cells]}")
        if channels not in (1, 3) or min(height, width) < cells:
            raise ValueError(
                f"a grid of {cells} x {cells} cells needs grey or colour images of at least that size, got "
                f"{channels} channels of {height} x {width}; lower cells or raise data.image_size"
            )
        self.radii, self.cells = tuple(radii), cells
        self.feature_dim = len(self.radii) * cells**2 * _BINS
        self.register_buffer("table", _uniform_bins(), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) float in [-1, 1] -> (N, feature_dim) float in [0, 1]; no gradient."""
        grey = _grey(images.float())
        height, width = grey.shape[1:]
        rows, columns = (torch.arange(side, device=grey.device) * self.cells // side for side in (height, width))
        cell = rows[:, None] * self.cells + columns
        found = []
        for radius in self.radii:
            bins = (cell * _BINS + self.table[_patterns(grey, radius)]).flatten(1)
            counts = torch.zeros(grey.shape[0], self.cells**2 * _BINS, device=grey.device)
            counts = counts.scatter_add(1, bins, torch.ones_like(bins, dtype=counts.dtype))
            shares = F.normalize(counts.reshape(grey.shape[0], -1, _BINS), p=1, dim=2)
            found.append(shares.sqrt().flatten(1))
        return torch.cat(found, dim=1)


def _grey(images: Tensor) -> Tensor:
    """(N, C, H, W) float -> (N, H, W) float."""
    if images.shape[1] == 1:
        return images[:, 0]
    red, green, blue = images.unbind(dim=1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _patterns(grey: Tensor, radius: float) -> Tensor:
    """Patterns (N, H, W) int64 in [0, 256) of grey images (N, H, W); pixels from outside repeat the edge."""
    height, width = grey.shape[1:]
    margin = math.ceil(radius) + 1
    padded = F.pad(grey[:, None], (margin, margin, margin, margin), mode="replicate")[:, 0]

    def moved(row: int, column: int) -> Tensor:
        return padded[:, margin + row : margin + row + height, margin + column : margin + column + width]

    pattern, least = torch.zeros_like(grey, dtype=torch.uint8), grey - _TIE
    for neighbour in range(_NEIGHBOURS):
        angle = 2 * math.pi * neighbour / _NEIGHBOURS
        y, x = round(-radius * math.sin(angle), 5), round(radius * math.cos(angle), 5)
        top, left = math.floor(y), math.floor(x)
        above, below = (torch.lerp(moved(row, left), moved(row, left + 1), x - left) for row in (top, top + 1))
        brighter = torch.lerp(above, below, y - top) >= least
        # Shifted by a number instead, ONNX gets operands of two types.
        bit = torch.full((), 1 << neighbour, dtype=torch.uint8, device=grey.device)
        pattern = pattern | torch.where(brighter, bit, torch.zeros_like(bit))
    return pattern.long()


def _uniform_bins() -> Tensor:
    """Bins (256,) int64 of all patterns: 0 to 57 for the uniform ones in ascending order, 58 for the others."""
    bits = (torch.arange(2**_NEIGHBOURS)[:, None] >> torch.arange(_NEIGHBOURS)) & 1
    uniform = (bits != bits.roll(1, dims=1)).sum(dim=1) <= 2
    return torch.where(uniform, uniform.cumsum(0) - 1, _BINS - 1)
