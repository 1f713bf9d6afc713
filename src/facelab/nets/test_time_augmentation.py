"""Test-time augmentation: embeddings are averaged over several variants of each image."""

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


class AffineTestTimeAugmentation:
    """Yields 18 variants of every image: unchanged, 4 shifts, 2 zooms and 2 rotations, each also mirrored.

    Args:
        shift: shift to each side, as a share of the width or height.
        zoom: relative change of size, smaller and larger.
        turn_deg: rotation in the plane, in degrees, in both directions.
        max_images: with more training and test images together, augmentation is off; None for no limit.

    Raises:
        ValueError: `shift` or `zoom` is outside [0, 1), or `max_images` below 1.
    """

    def __init__(
        self,
        shift: float = 0.04,
        zoom: float = 0.07,
        turn_deg: float = 7.0,
        max_images: int | None = 5000,
    ) -> None:
        if not (0 <= shift < 1 and 0 <= zoom < 1):
            raise ValueError(f"shift and zoom must be in [0, 1), got {shift} and {zoom}")
        if max_images is not None and max_images < 1:
            raise ValueError(f"max_images must be at least 1 or null, got {max_images}")
        self.shift, self.zoom, self.turn_deg, self.max_images = shift, zoom, turn_deg, max_images

    def __call__(self, images: Tensor) -> Iterator[Tensor]:
        """(N, C, H, W) float -> 18 tensors of the same shape; pixels from outside the image repeat the edge."""
        moves = [(1.0, 0.0, x, y) for x, y in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))]
        zooms = [(1 + factor * self.zoom, 0.0, 0, 0) for factor in (-1, 1)]
        turns = [(1.0, factor * math.radians(self.turn_deg), 0, 0) for factor in (-1, 1)]
        for scale, angle, x, y in (*moves, *zooms, *turns):
            variant = self._moved(images, scale, angle, 2 * self.shift * x, 2 * self.shift * y)
            yield variant
            yield variant.flip(3)

    def _moved(self, images: Tensor, scale: float, angle: float, x: float, y: float) -> Tensor:
        cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
        if (cosine, sine, x, y) == (1, 0, 0, 0):
            return images
        matrix = torch.tensor([[cosine, -sine, x], [sine, cosine, y]], device=images.device, dtype=images.dtype)
        grid = F.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=True)
        moved = F.grid_sample(images, grid, padding_mode="border", align_corners=True)
        return moved.to(memory_format=torch.channels_last)


def in_pieces(batches: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """The rows of tensors (N, ...), in their order, as tensors of `size` rows, the last one of what is left.

    No more than `size` + 2 N rows are held at once.
    """
    left: list[Tensor] = []
    for batch in batches:
        *whole, last = torch.split(torch.cat([*left, batch]), size)
        yield from whole
        left = [last]
    yield from left
