"""The strongest directions of a model's embeddings: their principal components."""

from dataclasses import dataclass

import numpy as np

from facelab.demo.model import Codes

_LEAST_SHARE = 1e-6  # below it, a direction is rounding error


@dataclass(frozen=True)
class Axes:
    """Principal components of embeddings.

    Args:
        mean: (D,) of the embeddings.
        directions: (K, D), of length 1, the strongest first.
        deviations: (K,) standard deviations along them.
        shares: (K,) of the embeddings' total variance, in [0, 1].
    """

    mean: Codes
    directions: Codes
    deviations: Codes
    shares: Codes

    @classmethod
    def of(cls, embeddings: Codes, most: int) -> "Axes":
        """The axes of embeddings (N, D), at most so many; those without variance are left out."""
        mean = embeddings.mean(axis=0)
        _, lengths, directions = np.linalg.svd(embeddings - mean, full_matrices=False)
        variances = lengths**2 / max(len(embeddings) - 1, 1)
        shares = variances / max(variances.sum(), np.finfo(np.float32).tiny)
        kept = int((shares[:most] > _LEAST_SHARE).sum())
        return cls(mean, directions[:kept], np.sqrt(variances[:kept]), shares[:kept])

    def __len__(self) -> int:
        return len(self.deviations)

    def coordinates(self, codes: Codes) -> Codes:
        """Where embeddings (N, D) lie along the axes, (N, K), in standard deviations from the mean."""
        return np.asarray((codes - self.mean) @ self.directions.T / self.deviations, np.float32)

    def moved(self, code: Codes, coordinates: Codes) -> Codes:
        """An embedding (D,) moved along the axes to coordinates (K,); unchanged in all other directions."""
        steps = (coordinates - self.coordinates(code[None])[0]) * self.deviations
        return np.asarray(code + steps @ self.directions, np.float32)
