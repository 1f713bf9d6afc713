"""A trained model, asked for embeddings and images."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.models.base import FaceModule, Generative, Reconstructing, to_uint8
from facelab.models.sampling import arc, latents
from facelab.models.trained import Trained, evaluation_embeddings

Pixels = NDArray[np.uint8]
Codes = NDArray[np.float32]


class Model:
    """A trained model on the GPU, if there is one.

    Args:
        trained: of a finished run.
    """

    def __init__(self, trained: Trained) -> None:
        self.module: FaceModule = trained.module.eval()
        self.metadata = trained.metadata
        if torch.cuda.is_available():
            self.module.to("cuda")

    def embed(self, images: Pixels) -> Codes:
        """Embeddings (N, D) of images (N, H, W, C), as the protocols take them: with test-time augmentation, if any."""
        return evaluation_embeddings(self.module, images).numpy()

    @torch.no_grad()
    def decode(self, codes: Codes) -> Pixels:
        """Images (N, H, W, C) of embeddings (N, D) of a model that reconstructs."""
        assert isinstance(self.module, Reconstructing)
        return to_uint8(self.module.decode(self._on_device(codes)))

    @torch.no_grad()
    def generate(self, drawn: Codes, labels: NDArray[np.int64]) -> Pixels:
        """Images (N, H, W, C) of latents (N, D) and labels (N,) of a generative model."""
        assert isinstance(self.module, Generative)
        return to_uint8(self.module.generate(self._on_device(drawn), torch.from_numpy(labels).to(self.module.device)))

    def latents(self, count: int, seed: int) -> Codes:
        """Standard normal latents (count, D) of a generative model; see `facelab.models.sampling.latents`."""
        assert isinstance(self.module, Generative)
        return latents(count, self.module.latent_dim, seed).numpy()

    def line(self, first: Codes, second: Codes, steps: int) -> Codes:
        """Latents (steps, D) on the arc from one latent (D,) to another; see `facelab.models.sampling.arc`."""
        return arc(torch.from_numpy(first), torch.from_numpy(second), steps).numpy()

    def _on_device(self, codes: Codes) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(codes, np.float32)).to(self.module.device)


def between(first: Codes, second: Codes, steps: int) -> Codes:
    """Codes (steps, D) on the straight line from one code (D,) to another, both included."""
    shares = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    return (1 - shares) * first + shares * second
