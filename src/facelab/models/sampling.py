"""New faces from a generative model."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.models.base import FaceModule, Generative, to_uint8

_BATCH = 256


def latents(count: int, latent_dim: int, seed: int) -> Tensor:
    """Standard normal latents (count, latent_dim) float32; the i-th depends on (seed, i) alone, whatever the count."""
    drawn = [np.random.default_rng([seed, i]).standard_normal(latent_dim, dtype=np.float32) for i in range(count)]
    return torch.from_numpy(np.stack(drawn))


def sample(
    module: FaceModule, count: int, seed: int, label: int | None = None, psi: float = 1.0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Generate faces.

    Args:
        module: a generative one, on whatever device.
        count: how many, at least 1.
        seed: of the latents.
        label: in [0, num_labels), for all of them; None for each label in turn.
        psi: latents are multiplied by it (truncation): below 1 for more typical faces that differ less.

    Returns:
        (count, H, W, C) uint8 and the labels (count,) that were asked for, all 0 where the model cannot be asked.
    """
    assert isinstance(module, Generative)
    drawn = psi * latents(count, module.latent_dim, seed)
    labels = torch.arange(count) % max(1, module.num_labels) if label is None else torch.full((count,), label)
    images = []
    module.eval()
    with torch.no_grad(), torch.autocast(module.device.type, enabled=False):
        for start in range(0, count, _BATCH):
            part = slice(start, start + _BATCH)
            images.append(to_uint8(module.generate(drawn[part].to(module.device), labels[part].to(module.device))))
    return np.concatenate(images), labels.numpy()
