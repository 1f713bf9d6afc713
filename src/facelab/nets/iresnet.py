"""The residual networks of ArcFace, in the form in which their weights are published."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from facelab.nets.encoders import ImageShape

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}  # of each of the four stages
_WIDTHS = (64, 64, 128, 256, 512)  # of the stem and the four stages
_SHRINK = 16


class IResNetBlock(nn.Module):
    """Normalisation, two 3x3 convolutions with PReLU between them, and a shortcut: (N, C, H, W) -> (N, width, H', W').

    Deng et al., "ArcFace", 2019, section 3.1: BN-Conv-BN-PReLU-Conv-BN, without an activation after the sum (Han et
    al., "Deep Pyramidal Residual Networks", 2017, section 3.3).

    Args:
        in_channels: C.
        width: output channels.
        stride: of the second convolution, 1 or 2: H' is H, or H / 2 rounded up.
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride > 1 or in_channels != width:
            shortcut = nn.Conv2d(in_channels, width, kernel_size=1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) float -> (N, width, H', W') float."""
        changed: Tensor = self.prelu(self.bn2(self.conv1(self.bn1(features))))
        changed = self.bn3(self.conv2(changed))
        return changed + (features if self.downsample is None else self.downsample(features))


class IResNet(nn.Module):
    """An improved residual network with 18, 34, 50 or 100 layers: (N, 1 or 3, H, W) float -> (N, embedding_dim).

    Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, section 3.1 (LResNet-E-IR).
    The first convolution keeps the size; each stage halves it; the last feature map is normalised, flattened and mapped
    to the embedding, which is normalised without a scale. Names of modules are those of InsightFace's arcface_torch, so
    that its weights for images of 112 x 112 load by `model.init_from`; images are RGB in [-1, 1] there too. Grey images
    are repeated.

    Args:
        image_shape: (C, H, W) of the images, C 1 or 3.
        depth: number of layers.
        embedding_dim: length of the embedding.
        dropout: share of the last feature map that is dropped in training, in [0, 1).

    Raises:
        ValueError: `depth` is none of these, the images are smaller than 16 pixels, or an argument is out of range.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        depth: Literal[18, 34, 50, 100] = 50,
        embedding_dim: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _, height, width = image_shape
        if depth not in _BLOCKS:
            raise ValueError(f"depth must be one of {', '.join(map(str, _BLOCKS))}, got {depth}")
        if embedding_dim < 1 or not 0 <= dropout < 1:
            raise ValueError(f"embedding_dim must be above 0 and dropout in [0, 1), got {embedding_dim} and {dropout}")
        if min(height, width) < _SHRINK:
            raise ValueError(
                f"IResNet needs images of at least 16 x 16 pixels, got {height} x {width}; raise data.image_size"
            )
        self.embedding_dim = embedding_dim
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.prelu = nn.PReLU(_WIDTHS[0])
        stages = [_stage(*widths, count) for widths, count in zip(pairwise(_WIDTHS), _BLOCKS[depth], strict=True)]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn2 = nn.BatchNorm2d(_WIDTHS[-1])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(_WIDTHS[-1] * -(-height // _SHRINK) * -(-width // _SHRINK), embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim)
        self.features.weight.requires_grad_(False)  # only the direction of an embedding counts
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) float in [-1, 1] -> (N, embedding_dim) float."""
        maps: Tensor = self.prelu(self.bn1(self.conv1(images.expand(-1, 3, -1, -1))))
        maps = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(maps)))))
        embeddings: Tensor = self.features(self.fc(self.dropout(maps.flatten(1))))
        return embeddings


def _stage(in_channels: int, width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        IResNetBlock(in_channels, width, stride=2), *(IResNetBlock(width, width, stride=1) for _ in range(blocks - 1))
    )
