"""Encoders whose embedding is followed by a descriptor of texture."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.encoders import ConvEncoder, ImageShape
from facelab.nets.projection import PrincipalComponents
from facelab.nets.residual import ResidualEncoder
from facelab.nets.texture import LocalBinaryPatterns

_FITTED_IMAGES = 8192  # whose texture takes half a GiB


class _WithTexture(nn.Module):
    """Mixin of encoders: local binary patterns, reduced to principal components, follow the network's embedding.

    Both parts have the same length (norm), so that the cosine of two embeddings is the mean of the two cosines; an
    average over test-time augmentation keeps this only nearly. Only the network is trained: in training mode, the
    embedding is the network's alone.
    """

    embedding_dim: int

    def _add_texture(self, image_shape: ImageShape, radii: Sequence[float], components: int) -> None:
        if components < 1:
            raise ValueError(f"components must be above 0, got {components}")
        self.trained_dim, self.embedding_dim = self.embedding_dim, self.embedding_dim + components
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
        network: Tensor = super().forward(images)
        if self.training:
            return network
        texture = F.normalize(self.components(self.texture(images)), dim=1)
        return torch.cat([network, texture * network.norm(dim=1, keepdim=True)], dim=1)


class ConvTextureEncoder(_WithTexture, ConvEncoder):
    """`ConvEncoder`, whose embedding is followed by a descriptor of texture of the same length (norm).

    The descriptor is local binary patterns, reduced to the principal components of the training images; it is computed
    and not trained. The cosine of two embeddings is the mean of the cosines of both parts; after test-time
    augmentation, which averages embeddings, only nearly.

    Args:
        image_shape: (C, H, W) of the images.
        widths: see `ConvEncoder`, as for the following arguments.
        embedding_dim: entries of the network's part.
        normalisation: see `ConvEncoder`; not applied to the texture.
        radii: of the patterns, in pixels; see `LocalBinaryPatterns`.
        components: entries of the texture's part.

    Raises:
        ValueError: the images are too small, or an argument is out of range.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        widths: Sequence[int] = (32, 64, 128, 256),
        embedding_dim: int = 256,
        normalisation: nn.Module | None = None,
        radii: Sequence[float] = (1, 2, 4),
        components: int = 400,
    ) -> None:
        super().__init__(image_shape, widths, embedding_dim, normalisation)
        self._add_texture(image_shape, radii, components)


class ResidualTextureEncoder(_WithTexture, ResidualEncoder):
    """`ResidualEncoder`, whose embedding is followed by a descriptor of texture, as in `ConvTextureEncoder`.

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
        self._add_texture(image_shape, radii, components)
