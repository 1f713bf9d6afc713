"""Sampling and interpolation of generative models."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facelab.models.base import FaceModule, Generative, Reconstructing, Varying, as_grid, to_float, to_uint8

_BATCH = 256


def latents(count: int, latent_dim: int, seed: int) -> Tensor:
    """Standard normal latents (count, latent_dim) float32; the i-th depends only on (seed, i), not on the count."""
    drawn = [np.random.default_rng([seed, i]).standard_normal(latent_dim, dtype=np.float32) for i in range(count)]
    return torch.from_numpy(np.stack(drawn))


def between_latents(rows: int, columns: int, latent_dim: int, seed: int) -> Tensor:
    """Latents (rows, columns, latent_dim) on arcs, between a pair of standard normal latents for each row."""
    ends = latents(2 * rows, latent_dim, seed).reshape(rows, 2, -1)
    return arc(ends[:, 0], ends[:, 1], columns)


def arc(first: Tensor, second: Tensor, steps: int) -> Tensor:
    """Interpolate spherically between latents.

    Shoemake, "Animating Rotation with Quaternion Curves", 1985, section 3.3; White, "Sampling Generative Networks",
    2016, section 2. Half way on a straight line, latents are too short by a factor of about sqrt(2): a diffusion model
    would be told more noise than they hold.

    Args:
        first: (..., D) float.
        second: (..., D) float.
        steps: number of latents, both ends included.

    Returns:
        (..., steps, D) float.
    """
    cosine = F.cosine_similarity(first, second, dim=-1)[..., None]
    angle = cosine.clamp(-1, 1).acos()  # rounding may put the cosine of equal ends above 1
    angle = angle.clamp(1e-3, math.pi - 1e-3)  # equal or opposite ends would divide by 0
    share = torch.linspace(0, 1, steps, device=first.device)
    weights = torch.stack([((1 - share) * angle).sin(), (share * angle).sin()]) / angle.sin()
    return weights[0, ..., None] * first[..., None, :] + weights[1, ..., None] * second[..., None, :]


def sample(
    module: FaceModule, count: int, seed: int, label: int | None = None, psi: float = 1.0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Generate faces.

    Args:
        module: a generative model, on any device.
        count: number of faces, at least 1.
        seed: seed of the latents.
        label: label of all faces, in [0, num_labels); None for each label in turn.
        psi: factor on the latents (truncation); below 1, faces are more typical and less diverse.

    Returns:
        Faces (count, H, W, C) uint8, and their labels (count,), all 0 for an unconditional model.
    """
    assert isinstance(module, Generative)
    drawn = psi * latents(count, module.latent_dim, seed)
    labels = torch.arange(count) % max(1, module.num_labels) if label is None else torch.full((count,), label)
    return generated(module, drawn, labels), labels.numpy()


def generated(module: FaceModule, drawn: Tensor, labels: Tensor) -> NDArray[np.uint8]:
    """Faces (N, H, W, C) uint8 of latents and labels, in batches of a fixed size.

    Args:
        module: a generative model, on any device.
        drawn: latents (N, latent_dim) float.
        labels: (N,) int64, or weights of mixtures of labels, (N, num_labels) float.
    """
    assert isinstance(module, Generative)
    return _in_batches(module, module.generate, drawn, labels)


def decoded(module: FaceModule, embeddings: Tensor) -> NDArray[np.uint8]:
    """Faces (N, H, W, C) uint8 that a model with a decoder makes of embeddings (N, D) float, in batches."""
    assert isinstance(module, Reconstructing)
    return _in_batches(module, module.decode, embeddings)


def varied(module: FaceModule, images: NDArray[np.uint8], drawn: Tensor) -> NDArray[np.uint8]:
    """Other images (N, H, W, C) uint8 of the people on given ones, in batches.

    Args:
        module: a model that varies images, on any device.
        images: (N, H, W, C) uint8.
        drawn: latents (N, latent_dim) float.
    """
    assert isinstance(module, Varying)
    make = module.vary
    return _in_batches(module, lambda given, latents: make(to_float(given), latents), _channels_first(images), drawn)


def _channels_first(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _in_batches(module: FaceModule, make: Callable[..., Tensor], *values: Tensor) -> NDArray[np.uint8]:
    images = []
    module.eval()
    with torch.no_grad(), torch.autocast(module.device.type, enabled=False):
        for batch in zip(*(torch.split(value, _BATCH) for value in values), strict=True):
            images.append(to_uint8(make(*(part.to(module.device) for part in batch))))
    return np.concatenate(images)


def interpolate(
    module: FaceModule, rows: int, columns: int, seed: int, label: int | None = None, psi: float = 1.0
) -> NDArray[np.uint8]:
    """Generate faces on arcs between a pair of latents for each row.

    Args:
        module: a generative model, on any device.
        rows: number of pairs.
        columns: faces per row, both ends included.
        seed: seed of the latents.
        label: label of all faces, in [0, num_labels); None for a different one in each row.
        psi: factor on the latents (truncation).

    Returns:
        (rows, columns, H, W, C) uint8.
    """
    assert isinstance(module, Generative)
    between = psi * between_latents(rows, columns, module.latent_dim, seed).flatten(0, 1).to(module.device)
    of_rows = torch.arange(rows) % max(1, module.num_labels) if label is None else torch.full((rows,), label)
    module.eval()
    with torch.no_grad(), torch.autocast(module.device.type, enabled=False):
        return to_uint8(
            as_grid(module.generate(between, of_rows.repeat_interleave(columns).to(module.device)), columns)
        )
