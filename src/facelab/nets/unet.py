"""A U-Net: a network from images to images of the same shape, told a noise level and, if it has any, a label."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.encoders import ImageShape

_FREQUENCIES = 16  # of the noise level's features
_GROUPS = 8  # of every group normalisation, where the channels allow it


class ConditionedBlock(nn.Module):
    """Residual block of two 3x3 convolutions, whose second normalisation is scaled and shifted by the condition.

    Group normalisation, SiLU, convolution, twice, around a shortcut: the block of Dhariwal and Nichol, "Diffusion
    Models Beat GANs on Image Synthesis", 2021, section 3 and equation 5. The second convolution begins at 0, so that
    every block begins as its shortcut.

    Args:
        in_channels: channels of the input.
        width: channels of the output.
        condition_dim: length of the condition.
    """

    def __init__(self, in_channels: int, width: int, condition_dim: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(in_channels), nn.SiLU(), _convolution(in_channels, width))
        self.norm, self.condition = _norm(width), nn.Linear(condition_dim, 2 * width)
        self.second = _zero(_convolution(width, width))
        self.shortcut = nn.Identity() if in_channels == width else nn.Conv2d(in_channels, width, 1)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """(N, in_channels, H, W) and (N, condition_dim) -> (N, width, H, W)."""
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, dim=1)
        inner = F.silu(self.norm(self.first(features)) * (1 + scale) + shift)
        output: Tensor = self.shortcut(features) + self.second(inner)
        return output


class UNet(nn.Module):
    """Encoder and decoder with a skip connection at every size: (N, C, H, W), noise level and label -> (N, C, H, W).

    Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015, with the residual
    blocks of diffusion models. It works on patches of `patch` x `patch` pixels, the channels of whose pixels are
    stacked, which is what makes it affordable on a CPU. It has no attention.

    Args:
        image_shape: (C, H, W) of the images.
        num_labels: number of labels; 0 for a network without labels.
        widths: channels of the feature maps, the largest map first; each map but the first has half the height and
            width of the one before.
        depth: residual blocks at each size, in the encoder and again in the decoder.
        patch: side of a patch, in pixels.
        condition_dim: length of the vector that noise level and label are turned into.

    Raises:
        ValueError: height or width is not a multiple of patch x 2^(len(widths) - 1), or an argument is out of range.
    """

    frequencies: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        num_labels: int = 0,
        widths: Sequence[int] = (64, 128, 256),
        depth: int = 2,
        patch: int = 4,
        condition_dim: int = 256,
    ) -> None:
        super().__init__()
        _refuse_sizes(image_shape, widths, depth, patch, condition_dim)
        self.patch, self.num_labels = patch, num_labels
        frequencies = 2 * math.pi * torch.logspace(-3, 2, _FREQUENCIES, base=2)  # 1/8 to 4 turns per unit of noise
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.noise = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, condition_dim), nn.SiLU(), nn.Linear(condition_dim, condition_dim)
        )
        self.labels = nn.Embedding(num_labels + 1, condition_dim) if num_labels else None

        def stage(in_channels: int, width: int) -> nn.ModuleList:
            inputs = [in_channels, *[width] * (depth - 1)]
            return nn.ModuleList(ConditionedBlock(channels, width, condition_dim) for channels in inputs)

        pixels = image_shape[0] * patch**2
        self.input = _convolution(pixels, widths[0])
        self.encoder = nn.ModuleList(stage(a, b) for a, b in pairwise([widths[0], *widths]))
        self.decoder = nn.ModuleList(stage(a + b, b) for a, b in pairwise(reversed(widths)))
        self.output = nn.Sequential(_norm(widths[0]), nn.SiLU(), _zero(_convolution(widths[0], pixels)))

    def features(self, images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """The decoder's feature maps, each averaged down to the size of the smallest: arguments as for `forward`.

        Returns:
            (N, sum of widths x height x width of the smallest map), float.
        """
        maps = self._maps(images, noise, labels)
        return torch.cat([F.avg_pool2d(m, 2**size).flatten(1) for size, m in enumerate(maps)], dim=1)

    def forward(self, images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """Images of the same shape.

        Args:
            images: (N, C, H, W) float.
            noise: (N,) float, a number of about unit size that tells the noise level.
            labels: (N,) int64 in [0, num_labels], where num_labels itself stands for no label; without labels, ignored.
        """
        return F.pixel_shuffle(self.output(self._maps(images, noise, labels)[-1]), self.patch)

    def _maps(self, images: Tensor, noise: Tensor, labels: Tensor) -> list[Tensor]:
        """The decoder's feature maps, the smallest first; the smallest is also the encoder's last."""
        condition = self._condition(noise, labels)
        features = self.input(F.pixel_unshuffle(images, self.patch))
        skips = []
        for size, blocks in enumerate(self.encoder):
            features = F.avg_pool2d(features, 2) if size else features
            for block in blocks:  # type: ignore[attr-defined]
                features = block(features, condition)
            skips.append(features)
        maps = [skips.pop()]
        for blocks in self.decoder:
            features = torch.cat([F.interpolate(maps[-1], scale_factor=2.0), skips.pop()], dim=1)
            for block in blocks:  # type: ignore[attr-defined]
                features = block(features, condition)
            maps.append(features)
        return maps

    def _condition(self, noise: Tensor, labels: Tensor) -> Tensor:
        turns = noise[:, None] * self.frequencies
        condition: Tensor = self.noise(torch.cat([turns.cos(), turns.sin()], dim=1))
        return F.silu(condition if self.labels is None else condition + self.labels(labels))


def _refuse_sizes(image_shape: ImageShape, widths: Sequence[int], depth: int, patch: int, condition_dim: int) -> None:
    if not widths or min(*widths, depth, patch, condition_dim) < 1:
        given = [*widths, depth, patch, condition_dim]
        raise ValueError(f"widths, depth, patch and condition_dim must be above 0, got {given}")
    _, height, width = image_shape
    multiple = patch * 2 ** (len(widths) - 1)
    if height % multiple or width % multiple:
        raise ValueError(
            f"{len(widths)} widths and patches of {patch} x {patch} pixels need images whose height and width are "
            f"multiples of {multiple}, got {height} x {width}; change data.image_size, patch, or the number of widths"
        )


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(_GROUPS, channels), channels)


def _convolution(in_channels: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, width, kernel_size=3, padding=1)


def _zero(convolution: nn.Conv2d) -> nn.Conv2d:
    """Begin with weights and biases of 0."""
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
    return convolution
