"""Losses of autoencoders by hand and against torch.distributions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence

from facelab.losses import absolute_error, squared_error
from facelab.losses.reconstruction import normal_kl


def test_errors_by_hand() -> None:
    original, reconstruction = torch.zeros(2, 1, 1, 2), torch.tensor([[0.5, -1.0], [2.0, 0.0]]).view(2, 1, 1, 2)
    assert squared_error(reconstruction, original).item() == pytest.approx((0.25 + 1 + 4) / 4)
    assert absolute_error(reconstruction, original).item() == pytest.approx((0.5 + 1 + 2) / 4)
    for loss in (squared_error, absolute_error):
        assert loss(reconstruction, reconstruction).item() == 0
        assert torch.equal(loss(original, reconstruction), loss(reconstruction, original))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 8))
def test_the_divergence_agrees_with_torch_distributions(seed: int, count: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    mean, log_variance = 2 * torch.randn(2, count, width, generator=random, dtype=torch.float64)
    found = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    standard = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    assert torch.allclose(normal_kl(mean, log_variance), kl_divergence(found, standard).mean())


def test_the_divergence_by_hand() -> None:
    assert normal_kl(torch.zeros(3, 4), torch.zeros(3, 4)).item() == 0
    # Means of 3 in two of two numbers of the first picture only: (9 + 9) / 2 for it, the half over both pictures.
    assert normal_kl(torch.tensor([[3.0, 3.0], [0.0, 0.0]]), torch.zeros(2, 2)).item() == pytest.approx(9 / 2)


def test_gradients_of_the_divergence_agree_with_finite_differences() -> None:
    random = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 3, 4, generator=random, dtype=torch.float64)
    assert torch.autograd.gradcheck(normal_kl, (mean.requires_grad_(), log_variance.requires_grad_()))
