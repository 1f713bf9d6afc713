"""A small residual encoder, for more people and images than the plain one separates; alone, or beside texture."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.encoders import ImageShape
from facelab.nets.light import standardise
from facelab.nets.texture import LocalBinaryPatterns, PrincipalComponents

_FITTED_IMAGES = 8192  # whose texture takes half a GiB


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: (N, C, H, W) -> (N, width, ceil(H / stride), ceil(W / stride)).

    He et al., "Deep Residual Learning for Image Recognition", 2016, figure 2 with the projection shortcut of equation 2
    where the shape changes. The last batch normalisation begins at 0, so that every block begins as its shortcut
    (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1).

    Args:
        in_channels: C.
        width: output channels.
        stride: of the first convolution.
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        last = nn.BatchNorm2d(width)
        nn.init.zeros_(last.weight)
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            last,
        )
        same = stride == 1 and in_channels == width
        self.shortcut = nn.Identity() if same else _projection(in_channels, width, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, width, ceil(H / stride), ceil(W / stride))."""
        return torch.relu(self.body(features) + self.shortcut(features))


class ResidualEncoder(nn.Module):
    """A convolution, stages of residual blocks, then a linear map of the last feature map: (N, C, H, W) -> (N, D).

    The first convolution and every stage but the first halve height and width, so that n widths divide them by 2^n.

    Args:
        image_shape: (C, H, W) of the images.
        widths: channels of the stages.
        depth: blocks per stage.
        embedding_dim: D.
        dropout: probability of dropping an entry of the last feature map, in [0, 1).
        normalisation: module applied to the images first, (N, C, H, W) -> (N, C, H, W); None to standardise each image.

    Raises:
        ValueError: the images are too small for this number of stages, or an argument is out of range.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        widths: Sequence[int] = (32, 64, 128, 256),
        depth: int = 2,
        embedding_dim: int = 256,
        dropout: float = 0.0,
        normalisation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        if not widths or min(*widths, depth, embedding_dim) < 1:
            raise ValueError(f"widths, depth and embedding_dim must be above 0, got {[*widths, depth, embedding_dim]}")
        if min(height, width) < 2 ** len(widths):
            raise ValueError(
                f"{len(widths)} widths need images of at least {2 ** len(widths)} x {2 ** len(widths)} pixels, got "
                f"{height} x {width}; raise data.image_size or shorten widths"
            )
        self.embedding_dim = embedding_dim
        self._normalise = standardise if normalisation is None else normalisation
        stem = nn.Conv2d(channels, widths[0], 3, stride=2, padding=1, bias=False)
        blocks: list[nn.Module] = [stem, nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            for block in range(depth):
                blocks.append(ResidualBlock(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        for _ in widths:
            height, width = -(-height // 2), -(-width // 2)
        self.embed = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(widths[-1] * height * width, embedding_dim, bias=False),
            nn.BatchNorm1d(embedding_dim),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, embedding_dim) float."""
        embeddings: Tensor = self.embed(self.blocks(self._normalise(images)))
        return embeddings


class ResidualTextureEncoder(ResidualEncoder):
    """A residual encoder whose embedding is followed by a texture descriptor of the same length (norm).

    Local binary patterns are reduced to the principal components of the training images. Both parts weigh the same, so
    that the cosine of two embeddings is the mean of the two cosines. Only the network is trained: in training mode, the
    embedding is the network's alone.

    Args:
        image_shape: (C, H, W) of the images.
        widths: see `ResidualEncoder`, as for the following arguments.
        depth: see `ResidualEncoder`.
        embedding_dim: entries of the network's part.
        dropout: see `ResidualEncoder`.
        normalisation: see `ResidualEncoder`; not applied to the texture.
        radii: of the patterns, in pixels; see `LocalBinaryPatterns`.
        components: entries of the texture's part.

    Raises:
        ValueError: the images are too small, or an argument is out of range.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        widths: Sequence[int] = (32, 64, 128, 256),
        depth: int = 1,
        embedding_dim: int = 256,
        dropout: float = 0.0,
        normalisation: nn.Module | None = None,
        radii: Sequence[float] = (1, 2, 4),
        components: int = 400,
    ) -> None:
        super().__init__(image_shape, widths, depth, embedding_dim, dropout, normalisation)
        if components < 1:
            raise ValueError(f"components must be above 0, got {components}")
        self.trained_dim, self.embedding_dim = embedding_dim, embedding_dim + components
        self.texture = LocalBinaryPatterns(image_shape, radii)
        self.components = PrincipalComponents(self.texture.feature_dim, components)

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Fit the texture's principal components to the first 8,192 training images, in batches (N, C, H, W)."""
        found, images = [], 0
        for batch in batches:
            found.append(self.texture(batch[: _FITTED_IMAGES - images]))
            images += len(found[-1])
            if images == _FITTED_IMAGES:
                break
        self.components.fit(torch.cat(found))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, trained_dim) in training mode, else (N, embedding_dim) float."""
        network = super().forward(images)
        if self.training:
            return network
        texture = F.normalize(self.components(self.texture(images)), dim=1)
        return torch.cat([network, texture * network.norm(dim=1, keepdim=True)], dim=1)


def _projection(in_channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
