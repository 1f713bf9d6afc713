"""Discriminators, from images to features and to one logit per image; higher means more real."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.encoders import ImageShape, last_map
from facelab.nets.initialise import SLOPE, dcgan_normal, he_normal, unit_gain


class DownBlock(nn.Sequential):
    """4x4 convolution of stride 2, leaky ReLU: (N, in_channels, H, W) -> (N, width, H // 2, W // 2).

    It has no normalisation: a gradient penalty needs every image's logit to depend on that image alone.

    Args:
        in_channels: input channels.
        width: output channels.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__(_halving(in_channels, width), nn.LeakyReLU(SLOPE, inplace=True))


class Discriminator(nn.Module):
    """A sequence of blocks, then one linear unit on the last feature map: (N, C, H, W) -> (N,).

    Args:
        blocks: each returns a feature map.
        last_dim: number of elements of the last feature map.
    """

    def __init__(self, blocks: nn.Sequential, last_dim: int) -> None:
        super().__init__()
        self.blocks, self.output = blocks, nn.Linear(last_dim, 1)

    def features(self, images: Tensor) -> Tensor:
        """All feature maps, max-pooled to 4 x 4: (N, C, H, W) float in [-1, 1] -> (N, 16 x the sum of their channels).

        Radford et al. (DCGAN), 2016, section 5.1.
        """
        maps = []
        for block in self.blocks:
            images = block(images)
            maps.append(F.adaptive_max_pool2d(images, 4).flatten(1))
        return torch.cat(maps, dim=1)

    def maps(self, images: Tensor, count: int) -> list[Tensor]:
        """The first feature maps of images (N, C, H, W) float in [-1, 1].

        Args:
            images: to look at.
            count: number of maps; all if there are fewer.
        """
        found = []
        for block in list(self.blocks)[:count]:
            images = block(images)
            found.append(images)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N,) logits."""
        logits: Tensor = self.output(self.blocks(images).flatten(1)).squeeze(1)
        return logits


class ConvDiscriminator(Discriminator):
    """Convolution blocks that halve height and width, then one linear unit: (N, C, H, W) -> (N,).

    Args:
        image_shape: (C, H, W) of the images.
        widths: channels of the blocks; each halves height and width.

    Raises:
        ValueError: the images are too small for this number of blocks, or a width is out of range.
    """

    def __init__(self, image_shape: ImageShape, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        height, width = last_map(image_shape, widths)
        inputs = [image_shape[0], *widths[:-1]]
        blocks = nn.Sequential(*(DownBlock(a, b) for a, b in zip(inputs, widths, strict=True)))
        super().__init__(blocks, widths[-1] * height * width)
        self.apply(he_normal)
        unit_gain(self.output)


class ProjectionDiscriminator(ConvDiscriminator):
    """`ConvDiscriminator` conditioned on a label.

    Adds to the logit the inner product of the spatial mean of the last feature map and a learnt, normalised label
    embedding. Miyato and Koyama, "cGANs with Projection Discriminator", 2018, figure 1 (d).

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of labels.
        widths: channels of the blocks; each halves height and width.

    Raises:
        ValueError: as for `ConvDiscriminator`.
    """

    def __init__(self, image_shape: ImageShape, num_classes: int, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__(image_shape, widths)
        self.labels = nn.Embedding(num_classes, widths[-1])

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """(N, C, H, W) float in [-1, 1], labels (N,) int64 -> (N,) logits."""
        features = self.blocks(images)
        directions = F.normalize(self.labels(labels))
        projected = (features.mean(dim=(2, 3)) * directions).sum(dim=1)
        logits: Tensor = self.output(features.flatten(1)).squeeze(1) + projected
        return logits


class DCGANDiscriminator(Discriminator):
    """Discriminator of DCGAN: convolutions of stride 2, batch normalisation on all but the first, leaky ReLU.

    Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
    2016, section 3. The paper's widths are two to four times these.

    Args:
        image_shape: (C, H, W) of the images.
        widths: channels of the convolutions; each halves height and width.

    Raises:
        ValueError: the images are too small for this number of convolutions, or a width is out of range.
    """

    def __init__(self, image_shape: ImageShape, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        height, width = last_map(image_shape, widths)
        blocks = []
        for number, (inputs, outputs) in enumerate(zip([image_shape[0], *widths[:-1]], widths, strict=True)):
            normalised = [nn.BatchNorm2d(outputs)] if number else []
            blocks.append(nn.Sequential(_halving(inputs, outputs), *normalised, nn.LeakyReLU(SLOPE, inplace=True)))
        super().__init__(nn.Sequential(*blocks), widths[-1] * height * width)
        self.apply(dcgan_normal)


def _halving(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1)
