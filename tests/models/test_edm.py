"""Preconditioning, loss and sampler of diffusion models, against closed forms."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from facelab.models.edm import (
    DATA_SD,
    LEAST_NOISE,
    MOST_NOISE,
    Denoiser,
    denoise,
    denoising_losses,
    heun,
    preconditioning,
    sampling_noise,
    training_noise,
)


def _constant(value: float) -> Denoiser:
    return lambda images, _: torch.full_like(images, value)


def test_preconditioning_by_hand() -> None:
    found = preconditioning(torch.tensor([1.2]))
    assert [float(factor) for factor in found] == pytest.approx(
        [0.25 / 1.69, 1.2 * 0.5 / 1.3, 1 / 1.3, math.log(1.2) / 4]
    )


def test_without_noise_an_image_is_its_own_estimate() -> None:
    images = torch.randn(3, 1, 4, 4)
    found = denoise(_constant(1.0), images, torch.full((3,), 1e-6))
    torch.testing.assert_close(found, images, atol=2e-6, rtol=0)


def test_in_noise_alone_the_network_sees_unit_variance_and_makes_the_whole_estimate() -> None:
    noisy, seen = 1e6 * torch.randn(3, 1, 4, 4), []

    def network(images: Tensor, level: Tensor) -> Tensor:
        seen.append((images, level))
        return torch.ones_like(images)

    found = denoise(network, noisy, torch.full((3,), 1e6))
    torch.testing.assert_close(found, torch.full_like(noisy, DATA_SD), atol=1e-5, rtol=0)
    ((images, level),) = seen
    torch.testing.assert_close(images, noisy / 1e6)
    torch.testing.assert_close(level, torch.full((3,), math.log(1e6) / 4))


@pytest.mark.parametrize("sigma", [0.01, 0.3, 5.0, 80.0])
def test_at_every_noise_level_a_network_of_zeros_costs_one_and_is_told_apart(sigma: float) -> None:
    torch.manual_seed(0)
    images, noise = DATA_SD * torch.randn(400, 1, 8, 8), torch.randn(400, 1, 8, 8)
    found = denoising_losses(_constant(0.0), images, noise, torch.full((400,), sigma))
    assert found.shape == (400,)
    assert float(found.mean()) == pytest.approx(1, abs=0.03)


def test_the_loss_is_that_of_the_network_against_its_target() -> None:
    """Equation 8: the weighted error of D is the plain error of F against (y - c_skip (y + n)) / c_out."""
    torch.manual_seed(0)
    images, noise, sigma = torch.randn(5, 2, 4, 4), torch.randn(5, 2, 4, 4), torch.rand(5) + 0.1
    skip, output, *_ = (factor[:, None, None, None] for factor in preconditioning(sigma))
    target = (images - skip * (images + sigma[:, None, None, None] * noise)) / output
    expected = (0.3 - target).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(denoising_losses(_constant(0.3), images, noise, sigma), expected)


def test_noise_levels_of_training_are_log_normal() -> None:
    torch.testing.assert_close(training_noise(torch.tensor([-1.0, 0.0, 1.0])).log(), torch.tensor([-2.4, -1.2, 0.0]))


def test_noise_levels_of_sampling_fall_from_end_to_end() -> None:
    levels = sampling_noise(5)
    assert levels[0] == pytest.approx(MOST_NOISE)
    assert levels[-2:] == [pytest.approx(LEAST_NOISE), 0.0]
    assert levels[2] == pytest.approx(((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7)  # half way
    assert levels == sorted(levels, reverse=True)
    assert sampling_noise(1) == [pytest.approx(MOST_NOISE), 0.0]


def _of_normal(mean: float, sd: float) -> Denoiser:
    """The best denoiser of images whose every pixel is N(mean, sd^2): the posterior mean."""

    def denoiser(noisy: Tensor, sigma: Tensor) -> Tensor:
        variance = sigma.square()[:, None, None, None]
        return (sd**2 * noisy + variance * mean) / (sd**2 + variance)

    return denoiser


def test_samples_of_a_normal_distribution_approach_the_analytic_solution_quadratically() -> None:
    """The probability flow of N(mean, sd^2) ends in mean + sd (x - mean) / sqrt(sd^2 + sigma_max^2)."""
    torch.manual_seed(0)
    mean, sd = 0.3, 0.4
    noise = torch.randn(64, 1, 4, 4, dtype=torch.float64)
    expected = mean + sd * (MOST_NOISE * noise - mean) / math.hypot(sd, MOST_NOISE)
    errors = [float((heun(_of_normal(mean, sd), noise, n) - expected).abs().max()) for n in (18, 32, 64, 128)]
    assert errors[0] < 0.1
    ratios = [first / second for first, second in pairwise(errors[1:])]
    assert all(3 < ratio < 5 for ratio in ratios), (errors, ratios)  # Heun's method is of second order


def test_the_sampler_calls_its_denoiser_as_often_as_documented() -> None:
    calls: list[float] = []

    def denoiser(images: Tensor, sigma: Tensor) -> Tensor:
        calls.append(float(sigma[0]))
        return torch.zeros_like(images)

    for steps in (1, 2, 7):
        calls.clear()
        assert heun(denoiser, torch.randn(2, 1, 2, 2), steps).abs().max() < 1e-4
        assert len(calls) == 2 * steps - 1
