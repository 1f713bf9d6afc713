"""Galleries made of random directions, without a model."""

import numpy as np
import torch
from PIL import Image

from facelab.galleries import Development, Gallery, Origin, Threshold
from facelab.galleries.thumbnails import as_thumbnail

ORIGIN = Origin("0" * 32, "a" * 64, 32, 1, True, 1)


def directions(count: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    """(count, dim) float32 of length 1."""
    drawn = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return torch.nn.functional.normalize(torch.from_numpy(drawn))


def gallery(count: int = 5, seed: int = 0) -> Gallery:
    """`person 0` to `person {count - 1}`, with one development face of each of 40 others."""
    names = [f"person {i}" for i in range(count)]
    thumbnails = [as_thumbnail(Image.new("RGB", (8, 8), (40 * i % 256, 0, 0))) for i in range(count)]
    digests, others = torch.arange(40, dtype=torch.uint8)[:, None].expand(40, 32), [f"other {i}" for i in range(40)]
    development = Development(directions(40, seed=seed + 1), torch.arange(40), digests, others, "made")
    threshold = Threshold(0.75, 0.8, 0.775, 40, 40, count)
    return Gallery(ORIGIN, names, [1] * count, directions(count, seed=seed), thumbnails, development, 0.8, threshold)
