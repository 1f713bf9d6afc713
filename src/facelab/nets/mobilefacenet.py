"""MobileFaceNet, a network of about a million weights."""

from torch import Tensor, nn

from facelab.nets.encoders import ImageShape
from facelab.nets.initialise import he_normal

# Table 1 of the paper: expansion, channels, repetitions, stride of the first one.
_BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
_STEM, _LAST, _SHRINK = 64, 512, 16


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation, and PReLU: (N, C, H, W) -> (N, width, H', W'), H' = H / stride rounded up.

    Args:
        in_channels: C.
        width: output channels.
        kernel: height and width of the kernel, 1 or 3.
        stride: of the convolution.
        depthwise: whether each channel has one filter of its own; `width` is C then.
        linear: whether PReLU is left out.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        linear: bool = False,
    ) -> None:
        groups = in_channels if depthwise else 1
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(width),
        ]
        super().__init__(*layers, *([] if linear else [nn.PReLU(width)]))


class Bottleneck(nn.Module):
    """The block of MobileNetV2: expansion, depthwise convolution, linear projection; a shortcut where the shape stays.

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, section 3.3, with PReLU.

    Args:
        in_channels: C.
        width: output channels.
        expansion: factor on C between the two 1x1 convolutions.
        stride: of the depthwise convolution.
    """

    def __init__(self, in_channels: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.layers = nn.Sequential(
            ConvNorm(in_channels, inner),
            ConvNorm(inner, inner, 3, stride, depthwise=True),
            ConvNorm(inner, width, linear=True),
        )
        self.has_shortcut = stride == 1 and in_channels == width

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) float -> (N, width, H', W') float, H' = H / stride rounded up."""
        changed: Tensor = self.layers(features)
        return features + changed if self.has_shortcut else changed


class MobileFaceNet(nn.Module):
    """A small and fast network for faces: (N, 1 or 3, H, W) float -> (N, embedding_dim).

    Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices", 2018,
    table 1: bottlenecks, then a depthwise convolution as large as the last feature map in place of average pooling,
    since the corners of a face tell less than its centre. 112 x 112 pixels in the paper. Grey images are repeated.

    Args:
        image_shape: (C, H, W) of the images, C 1 or 3.
        embedding_dim: length of the embedding; 128 in the paper.

    Raises:
        ValueError: the images are smaller than 16 pixels, or `embedding_dim` is not above 0.
    """

    def __init__(self, image_shape: ImageShape, embedding_dim: int = 128) -> None:
        super().__init__()
        _, height, width = image_shape
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim must be above 0, got {embedding_dim}")
        if min(height, width) < _SHRINK:
            raise ValueError(
                f"MobileFaceNet needs images of at least 16 x 16 pixels, got {height} x {width}; raise data.image_size"
            )
        self.embedding_dim = embedding_dim
        self.stem = nn.Sequential(ConvNorm(3, _STEM, 3, stride=2), ConvNorm(_STEM, _STEM, 3, depthwise=True))
        blocks, channels = [], _STEM
        for expansion, out, count, stride in _BOTTLENECKS:
            for number in range(count):
                blocks.append(Bottleneck(channels, out, expansion, stride if number == 0 else 1))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.expand = ConvNorm(channels, _LAST)
        whole = (-(-height // _SHRINK), -(-width // _SHRINK))
        depthwise = nn.Conv2d(_LAST, _LAST, whole, groups=_LAST, bias=False)
        self.pool = nn.Sequential(depthwise, nn.BatchNorm2d(_LAST), nn.Flatten())
        self.embed = nn.Sequential(nn.Linear(_LAST, embedding_dim, bias=False), nn.BatchNorm1d(embedding_dim))
        self.apply(he_normal)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) float in [-1, 1] -> (N, embedding_dim) float."""
        maps: Tensor = self.blocks(self.stem(images.expand(-1, 3, -1, -1)))
        embeddings: Tensor = self.embed(self.pool(self.expand(maps)))
        return embeddings
