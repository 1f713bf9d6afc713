"""Linear projections whose axes are computed and not learned."""

import torch
from torch import Tensor, nn

_RANK = 1e-5  # of the largest singular value: directions below it are rounding errors, as where images repeat


class LinearProjection(nn.Module):
    """Projection of features on axes, after their mean is subtracted; zeros before the axes are set.

    Args:
        features: length of the features.
        components: number of axes; those that are not set give 0.
    """

    mean: Tensor
    axes: Tensor

    def __init__(self, features: int, components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("axes", torch.zeros(features, components))

    @torch.no_grad()
    def set(self, mean: Tensor, axes: Tensor) -> None:
        """Set the mean (F,) and up to `components` axes (F, K)."""
        self.mean.copy_(mean)
        self.axes.zero_()
        self.axes[:, : axes.shape[1]] = axes

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) float -> (N, components) float."""
        return (features - self.mean) @ self.axes


class PrincipalComponents(LinearProjection):
    """Projection on the principal components of the features that it is fitted to; zeros before the fit.

    Args:
        features: length of the features.
        components: number of components; with fewer directions in the data, the others give 0.
    """

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Fit to features (N, F), N at least 1, by a randomised decomposition with a seed of its own: repeatable.

        Halko, Martinsson and Tropp, "Finding Structure with Randomness", 2011, algorithm 5.1 with power iterations.
        """
        mean = features.mean(dim=0)
        most = min(self.axes.shape[1], len(features) - 1, features.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, lengths, axes = torch.svd_lowrank(features - mean, q=min(most + 10, *features.shape), niter=4)
        self.set(mean, axes[:, :most][:, lengths[:most] > _RANK * lengths[0]])
