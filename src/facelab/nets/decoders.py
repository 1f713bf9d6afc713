"""Decoders, from latents to images: an autoencoder's second half, and a GAN's generator."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.encoders import ImageShape
from facelab.nets.initialise import SLOPE, dcgan_normal, he_normal, unit_gain

STYLE_DIM = 128
_MODULATION = 0.25  # standard deviation of the first scales and shifts


class UpBlock(nn.Module):
    """4x4 transposed convolution of stride 2, scaled and shifted per channel by a style, then leaky ReLU.

    (N, in_channels, H, W) and styles (N, style_dim) -> (N, width, 2 H, 2 W). Scales and shifts are linear in the style
    (Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", 2018, section 2), and begin near 1 and 0.
    There is no normalisation, so an output does not depend on the other latents of its batch.

    Args:
        in_channels: input channels.
        width: output channels.
        style_dim: length of the styles.
    """

    def __init__(self, in_channels: int, width: int, style_dim: int) -> None:
        super().__init__()
        self.conv = _doubling(in_channels, width)
        self.modulation = nn.Linear(style_dim, 2 * width)

    def begin_near_identity(self) -> None:
        """Initialise the modulation: scales near 1, shifts near 0."""
        nn.init.normal_(self.modulation.weight, std=_MODULATION / self.modulation.in_features**0.5)

    def forward(self, features: Tensor, styles: Tensor) -> Tensor:
        """(N, in_channels, H, W) and (N, style_dim) float -> (N, width, 2 H, 2 W) float."""
        made = self.conv(features)
        scales, shifts = self.modulation(styles).to(made)[:, :, None, None].chunk(2, dim=1)
        return F.leaky_relu(torch.addcmul(shifts, made, 1 + scales), SLOPE, inplace=True)


class ConvDecoder(nn.Module):
    """Linear map to a small feature map, then transposed convolutions that double it: (N, latent_dim) -> (N, C, H, W).

    Two dense layers turn the latent into a style, which scales and shifts the channels of every block, so that all
    layers know the whole latent (Karras et al., "A Style-Based Generator Architecture", 2019, section 2, here without
    normalisation and noise).

    Args:
        latent_dim: length of the latents.
        image_shape: (C, H, W) of the images.
        widths: channels of the feature maps, the smallest map first; each layer doubles height and width, the last one
            returns the image.

    Raises:
        ValueError: height or width is not a multiple of 2^len(widths), or an argument is out of range.
    """

    def __init__(self, latent_dim: int, image_shape: ImageShape, widths: Sequence[int] = (256, 128, 64, 32)) -> None:
        super().__init__()
        height, width = smallest_map(latent_dim, image_shape, widths)
        self.style = style_network(latent_dim)
        self.project = nn.Sequential(
            nn.Linear(latent_dim, widths[0] * height * width),
            nn.Unflatten(1, (widths[0], height, width)),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        blocks = [UpBlock(a, b, STYLE_DIM) for a, b in pairwise(widths)]
        self.blocks = nn.ModuleList(blocks)
        self.output = _doubling(widths[-1], image_shape[0])
        self.apply(he_normal)
        unit_gain(self.output)
        for block in blocks:
            block.begin_near_identity()

    def forward(self, latents: Tensor) -> Tensor:
        """(N, latent_dim) float -> (N, C, H, W) float in [-1, 1]."""
        features = self.project(latents).contiguous(memory_format=torch.channels_last)
        styles = self.style(latents)
        for block in self.blocks:
            features = block(features, styles)
        return torch.tanh(self.output(features))


class ConditionalDecoder(ConvDecoder):
    """`ConvDecoder` conditioned on a label: a learnt label embedding is concatenated to the latent.

    Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014, section 3.2, with an embedding in place of the
    one-hot label.

    Args:
        latent_dim: length of the latents.
        image_shape: (C, H, W) of the images.
        num_classes: number of labels.
        label_dim: length of a label's embedding.
        widths: as for `ConvDecoder`.

    Raises:
        ValueError: as for `ConvDecoder`.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        num_classes: int,
        label_dim: int = 64,
        widths: Sequence[int] = (256, 128, 64, 32),
    ) -> None:
        smallest_map(latent_dim, image_shape, widths)
        if label_dim < 1:
            raise ValueError(f"label_dim must be above 0, got {label_dim}")
        super().__init__(latent_dim + label_dim, image_shape, widths)
        self.labels = nn.Embedding(num_classes, label_dim)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """(N, latent_dim) float, labels (N,) int64 or weights (N, L) float -> (N, C, H, W) float in [-1, 1].

        With weights of the first L labels, their normalised embeddings are mixed, as Rahimi et al., "AugGen: Synthetic
        Augmentation Can Improve Discriminative Models", 2025 (arXiv 2503.11544), mixes one-hot labels. Only the
        direction of the mixture counts, since every embedding is brought to the same length.
        """
        known = (
            self.labels(labels) if labels.dim() == 1 else labels @ F.normalize(self.labels.weight[: labels.shape[1]])
        )
        # Scaled to the expected norm of a standard normal latent of this length, so that neither dominates.
        embedded = F.normalize(known) * self.labels.embedding_dim**0.5
        return super().forward(torch.cat([latents, embedded.to(latents)], dim=1))


class DCGANGenerator(nn.Module):
    """Generator of DCGAN: transposed convolutions, batch normalisation, ReLU, tanh.

    Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
    2016, section 3 and figure 1. The paper's widths are 1024, 512, 256 and 128.

    Args:
        latent_dim: length of the latents.
        image_shape: (C, H, W) of the images.
        widths: as for `ConvDecoder`.

    Raises:
        ValueError: height or width is not a multiple of 2^len(widths), or an argument is out of range.
    """

    def __init__(self, latent_dim: int, image_shape: ImageShape, widths: Sequence[int] = (256, 128, 64, 32)) -> None:
        super().__init__()
        height, width = smallest_map(latent_dim, image_shape, widths)
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, widths[0] * height * width, bias=False),
            nn.Unflatten(1, (widths[0], height, width)),
        ]
        for inputs, outputs in zip(widths, [*widths[1:], image_shape[0]], strict=True):
            layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), _doubling(inputs, outputs)]
        self.layers = nn.Sequential(*layers)
        self.apply(dcgan_normal)

    def forward(self, latents: Tensor) -> Tensor:
        """(N, latent_dim) float -> (N, C, H, W) float in [-1, 1]."""
        return torch.tanh(self.layers(latents))


def style_network(inputs: int) -> nn.Sequential:
    """Two dense layers, (N, inputs) -> (N, STYLE_DIM)."""
    return nn.Sequential(
        nn.Linear(inputs, STYLE_DIM),
        nn.LeakyReLU(SLOPE, inplace=True),
        nn.Linear(STYLE_DIM, STYLE_DIM),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def _doubling(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1)


def smallest_map(latent_dim: int, image_shape: ImageShape, widths: Sequence[int]) -> tuple[int, int]:
    """Height and width of the feature map that `len(widths)` doublings turn into an image.

    Raises:
        ValueError: height or width is not a multiple of 2^len(widths), or an argument is out of range.
    """
    _, height, width = image_shape
    if not widths or min(widths) < 1 or latent_dim < 1:
        raise ValueError(f"widths and latent_dim must be above 0, got {list(widths)} and {latent_dim}")
    growth = 2 ** len(widths)
    if height % growth or width % growth:
        raise ValueError(
            f"{len(widths)} widths need images whose height and width are multiples of {growth}, got "
            f"{height} x {width}; change data.image_size, or the number of widths"
        )
    return height // growth, width // growth
