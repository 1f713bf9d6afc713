"""Encoders, from images to embeddings."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from facelab.nets.light import standardise

ImageShape = tuple[int, int, int]  # (C, H, W)


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch normalisation, ReLU, 2x2 max pooling: (N, C, H, W) -> (N, width, H // 2, W // 2).

    Args:
        in_channels: C.
        width: output channels.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )


class ConvBlocks(nn.Sequential):
    """Sequence of convolution blocks: (N, C, H, W) -> (N, widths[-1], H // 2^n, W // 2^n) for n widths.

    Args:
        image_shape: (C, H, W) of the images.
        widths: channels of the blocks; each halves height and width.

    Raises:
        ValueError: the images are too small for this number of blocks, or a width is out of range.
    """

    def __init__(self, image_shape: ImageShape, widths: Sequence[int]) -> None:
        height, width = last_map(image_shape, widths)
        inputs = [image_shape[0], *widths[:-1]]
        super().__init__(*(ConvBlock(c, w) for c, w in zip(inputs, widths, strict=True)))
        self.feature_dim = widths[-1] * height * width


def last_map(image_shape: ImageShape, widths: Sequence[int]) -> tuple[int, int]:
    """Height and width of the feature map after halving the images once for each width.

    Raises:
        ValueError: the images are too small, or a width is out of range.
    """
    _, height, width = image_shape
    if not widths or min(widths) < 1:
        raise ValueError(f"widths must be above 0, got {list(widths)}")
    shrink = 2 ** len(widths)
    if min(height, width) < shrink:
        raise ValueError(
            f"{len(widths)} blocks need images of at least {shrink} x {shrink} pixels, got {height} x {width}; "
            "raise data.image_size or shorten widths"
        )
    return height // shrink, width // shrink


class ConvEncoder(nn.Module):
    """Convolution blocks, then a linear map of the last feature map: (N, C, H, W) float -> (N, embedding_dim).

    Args:
        image_shape: (C, H, W) of the images.
        widths: channels of the blocks; each halves height and width.
        embedding_dim: length of the embedding.
        normalisation: module applied to the images first, (N, C, H, W) -> (N, C, H, W); None to standardise each image.

    Raises:
        ValueError: the images are too small for this number of blocks, or an argument is out of range.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        widths: Sequence[int] = (32, 64, 128, 256),
        embedding_dim: int = 256,
        normalisation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim must be above 0, got {embedding_dim}")
        self.embedding_dim = embedding_dim
        self._normalise = standardise if normalisation is None else normalisation
        self.blocks = ConvBlocks(image_shape, widths)
        self.embed = nn.Sequential(
            nn.Flatten(),
            nn.Linear(self.blocks.feature_dim, embedding_dim, bias=False),
            nn.BatchNorm1d(embedding_dim),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, embedding_dim) float."""
        embeddings: Tensor = self.embed(self.blocks(self._normalise(images)))
        return embeddings


class BottleneckEncoder(nn.Module):
    """The blocks of `ConvEncoder`, then a linear map: (N, C, H, W) float -> (N, latent_dim).

    The images are not normalised, since a decoder has to reproduce their lighting.

    Args:
        image_shape: (C, H, W) of the images.
        latent_dim: length of the bottleneck.
        widths: channels of the blocks; each halves height and width.

    Raises:
        ValueError: the images are too small for this number of blocks, or an argument is out of range.
    """

    def __init__(self, image_shape: ImageShape, latent_dim: int, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be above 0, got {latent_dim}")
        self.blocks = ConvBlocks(image_shape, widths)
        self.project = nn.Linear(self.blocks.feature_dim, latent_dim)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, latent_dim) float."""
        latents: Tensor = self.project(self.blocks(images).flatten(1))
        return latents


class ClassicEncoder(nn.Module):
    """Three unpadded convolutions, dense 512, dropout, as in introductory Keras tutorials: (N, C, H, W) -> (N, 512).

    3x3 convolutions with 32, 64 and 128 filters, each followed by ReLU and 2x2 max pooling; a dense layer of 512 units
    with ReLU; dropout 0.5. Glorot-uniform weights (Glorot and Bengio, 2010, equation 16), zero biases. The first
    convolution has three input channels; grey images are repeated.

    Args:
        image_shape: (C, H, W) of the images, C 1 or 3.

    Raises:
        ValueError: the images are smaller than 22 x 22 pixels, so the last feature map would be empty.
    """

    embedding_dim = 512

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        _, height, width = image_shape
        left_height, left_width = _after_blocks(height), _after_blocks(width)
        if min(left_height, left_width) < 1:
            raise ValueError(
                f"ClassicEncoder needs images of at least 22 x 22 pixels, got {height} x {width}; raise data.image_size"
            )
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(inputs, outputs, kernel_size=3), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.blocks = nn.Sequential(*layers)
        self.dense = nn.Linear(128 * left_height * left_width, self.embedding_dim)
        self.dropout = nn.Dropout(0.5)
        self.apply(glorot_uniform)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) float in [-1, 1] -> (N, 512) float, not below 0."""
        features = self.blocks(images.expand(-1, 3, -1, -1)).flatten(1)
        embeddings: Tensor = self.dropout(torch.relu(self.dense(features)))
        return embeddings


def _after_blocks(side: int) -> int:
    for _ in range(3):
        side = (side - 2) // 2
    return side


def glorot_uniform(module: nn.Module) -> None:
    """Initialise a convolution or linear layer with Glorot-uniform weights and zero biases; for `nn.Module.apply`."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
