"""Differentiable augmentation of a discriminator's inputs."""

import torch
import torch.nn.functional as F
from torch import Tensor


class DiffAugment:
    """Augments real and generated images alike; gradients pass through to the generator.

    Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", 2020, section 3. The caller passes the
    random numbers, so that they can depend on the image and not on the process that augments it.

    Args:
        flip: share of the images that are mirrored, in [0, 1].
        brightness: largest offset added to all pixels, on the scale of [-1, 1].
        contrast: largest relative change of the deviation from the image's mean, in [0, 1].
        translation: largest shift, as a share of width and height, in [0, 1); zeros (mid grey) fill the gap.
        cutout: side of the square that is set to mid grey, as a share of width and height, in [0, 1); 0 for none.

    Raises:
        ValueError: a value is out of range.
    """

    DRAWS = 7  # random numbers per image

    def __init__(
        self,
        flip: float = 0.5,
        brightness: float = 0.5,
        contrast: float = 0.5,
        translation: float = 0.125,
        cutout: float = 0.5,
    ) -> None:
        shares = {"flip": flip, "contrast": contrast, "translation": translation, "cutout": cutout}
        for name, value in shares.items():
            if not 0 <= value <= 1 or (value == 1 and name in ("translation", "cutout")):
                raise ValueError(
                    f"{name} must be in [0, 1{')' if name in ('translation', 'cutout') else ']'}, got {value}"
                )
        if brightness < 0:
            raise ValueError(f"brightness must not be below 0, got {brightness}")
        self.flip, self.brightness, self.contrast = flip, brightness, contrast
        self.translation, self.cutout = translation, cutout

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Augment every image with its own random numbers.

        Args:
            images: (N, C, H, W) float in [-1, 1].
            draws: (N, DRAWS) float in [0, 1), uniform.

        Returns:
            (N, C, H, W) float, not clipped.
        """
        mirrored, bright, contrasted, x, y, cut_x, cut_y = draws.unbind(1)
        images = torch.where((mirrored < self.flip).view(-1, 1, 1, 1), images.flip(3), images)
        images = images + (self.brightness * (2 * bright - 1)).to(images).view(-1, 1, 1, 1)
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = mean + (images - mean) * (1 + self.contrast * (2 * contrasted - 1)).to(images).view(-1, 1, 1, 1)
        images = self._translated(images, x, y)
        return images * self._kept(images, cut_x, cut_y)

    def _translated(self, images: Tensor, x: Tensor, y: Tensor) -> Tensor:
        height, width = images.shape[2:]
        most_y, most_x = round(height * self.translation), round(width * self.translation)
        if most_x == most_y == 0:
            return images
        # Indexing rows and columns of the padded image shifts by whole pixels: exact and differentiable.
        padded = F.pad(images, (most_x, most_x, most_y, most_y))
        rows = torch.arange(height, device=images.device) + (y * (2 * most_y + 1)).long()[:, None]
        columns = torch.arange(width, device=images.device) + (x * (2 * most_x + 1)).long()[:, None]
        image = torch.arange(len(images), device=images.device)
        moved = padded.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]]
        return moved.permute(0, 3, 1, 2)

    def _kept(self, images: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Cutout mask (N, 1, H, W): 0 in a square centred anywhere in the image, 1 elsewhere."""
        height, width = images.shape[2:]

        def outside(length: int, centre: Tensor) -> Tensor:
            size = round(length * self.cutout)
            first = (centre * length).floor()[:, None] - size // 2
            position = torch.arange(length, device=images.device)
            return (position < first) | (position >= first + size)

        return (outside(height, y)[:, :, None] | outside(width, x)[:, None, :])[:, None].to(images)
