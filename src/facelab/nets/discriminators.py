"""Discriminators: pictures to features, and to a logit that says how real each looks."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.encoders import ImageShape
from facelab.nets.initialise import SLOPE, dcgan_normal, he_normal, unit_gain


class DownBlock(nn.Sequential):
    """4x4 convolution of stride 2, leaky ReLU: (N, in_channels, H, W) -> (N, width, H // 2, W // 2).

    Without normalisation: a gradient penalty needs every picture's logit to depend on that picture alone.

    Args:
        in_channels: of the input.
        width: output channels.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__(_halving(in_channels, width), nn.LeakyReLU(SLOPE, inplace=True))


class ConvDiscriminator(nn.Module):
    """Blocks that halve the picture, then one linear unit: (N, C, H, W) -> (N,).

    Args:
        image_shape: (C, H, W) of the pictures.
        widths: channels of the blocks; each halves height and width.

    Raises:
        ValueError: the pictures are too small for so many blocks, or a width is out of range.
    """

    def __init__(self, image_shape: ImageShape, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        height, width = _last_map(image_shape, widths)
        inputs = [image_shape[0], *widths[:-1]]
        self.blocks = nn.Sequential(*(DownBlock(a, b) for a, b in zip(inputs, widths, strict=True)))
        self.output = nn.Linear(widths[-1] * height * width, 1)
        self.apply(he_normal)
        unit_gain(self.output)

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, D): the last layer before the logit."""
        features: Tensor = self.blocks(images).flatten(1)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N,) logits."""
        logits: Tensor = self.output(self.features(images)).squeeze(1)
        return logits


class ProjectionDiscriminator(ConvDiscriminator):
    """A `ConvDiscriminator` that is told the label: to its logit comes the inner product of the features' mean over the
    map with a vector of the label.

    Miyato and Koyama, "cGANs with Projection Discriminator", 2018, equation 5.

    Args:
        image_shape: (C, H, W) of the pictures.
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


class DCGANDiscriminator(nn.Module):
    """The discriminator of DCGAN: convolutions of stride 2, batch normalisation but for the first, leaky ReLU.

    Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
    2016, section 3; there with twice to four times the widths.

    Args:
        image_shape: (C, H, W) of the pictures.
        widths: channels of the convolutions; each halves height and width.

    Raises:
        ValueError: the pictures are too small for so many convolutions, or a width is out of range.
    """

    def __init__(self, image_shape: ImageShape, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        height, width = _last_map(image_shape, widths)
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(zip([image_shape[0], *widths[:-1]], widths, strict=True)):
            layers += [_halving(inputs, outputs), *([nn.BatchNorm2d(outputs)] if number else [])]
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.blocks = nn.Sequential(*layers)
        self.output = nn.Linear(widths[-1] * height * width, 1)
        self.apply(dcgan_normal)

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, D): the last layer before the logit."""
        features: Tensor = self.blocks(images).flatten(1)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N,) logits."""
        logits: Tensor = self.output(self.features(images)).squeeze(1)
        return logits


def _halving(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1)


def _last_map(image_shape: ImageShape, widths: Sequence[int]) -> tuple[int, int]:
    _, height, width = image_shape
    if not widths or min(widths) < 1:
        raise ValueError(f"widths must be above 0, got {list(widths)}")
    shrink = 2 ** len(widths)
    if min(height, width) < shrink:
        raise ValueError(
            f"{len(widths)} blocks need pictures of at least {shrink} pixels a side, got {height} x {width}; "
            "raise data.image_size or shorten widths"
        )
    return height // shrink, width // shrink
