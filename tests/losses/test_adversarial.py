"""Adversarial losses and gradient penalties against binary cross-entropy, closed forms and finite differences."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facelab.losses.adversarial import (
    AdversarialTerms,
    hinge,
    interpolated_gradient_penalty,
    non_saturating,
    r1,
    r2,
    relativistic_logistic,
    wasserstein,
)
from facelab.nets.discriminators import ConvDiscriminator

Loss = Callable[[Tensor, Tensor], AdversarialTerms]
Penalty = Callable[..., Tensor]
REAL, GENERATED = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.25, 1.0])


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cross_entropy(logits: Tensor, truth: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def test_the_non_saturating_loss_is_binary_cross_entropy() -> None:
    real, generated = 4 * drawn(1, 20), 4 * drawn(2, 20)
    terms = non_saturating(real, generated)
    assert torch.allclose(terms.discriminator, cross_entropy(real, 1) + cross_entropy(generated, 0))
    assert torch.allclose(terms.generator, cross_entropy(generated, 1))


def test_the_hinge_loss_by_hand() -> None:
    terms = hinge(REAL, GENERATED)
    # Real pictures are short of 1 by 0, 0.5 and 2; generated ones lie above -1 by 0, 1.25 and 2.
    assert terms.discriminator.item() == pytest.approx(2.5 / 3 + 3.25 / 3)
    assert terms.generator.item() == pytest.approx(1.75 / 3)


def test_the_wasserstein_loss_by_hand() -> None:
    terms = wasserstein(REAL, GENERATED)
    assert terms.discriminator.item() == pytest.approx(-1.75 / 3 - 1.5 / 3)
    assert terms.generator.item() == pytest.approx(1.75 / 3)


def test_the_relativistic_loss_is_binary_cross_entropy_of_the_lead() -> None:
    real, generated = 4 * drawn(1, 20), 4 * drawn(2, 20)
    terms = relativistic_logistic(real, generated)
    assert torch.allclose(terms.discriminator, cross_entropy(real - generated, 1))
    assert torch.allclose(terms.generator, cross_entropy(generated - real, 1))


def test_the_relativistic_loss_compares_pair_by_pair() -> None:
    real = torch.tensor([0.0, 10.0])
    assert relativistic_logistic(real, real).discriminator.item() == pytest.approx(math.log(2))
    # Leads of -10 and 10: log(1 + e^10) and log(1 + e^-10), which differ by 10.
    expected = (10 + 2 * math.log1p(math.exp(-10))) / 2
    assert relativistic_logistic(real, real.flip(0)).discriminator.item() == pytest.approx(expected)
    assert relativistic_logistic(real, real.flip(0)).generator.item() == pytest.approx(expected)


@pytest.mark.parametrize("constant", [-100.0, 0.7, 1e4])
def test_the_relativistic_loss_knows_only_differences(constant: float) -> None:
    real, generated = drawn(1, 20), drawn(2, 20)
    shifted = relativistic_logistic(real + constant, generated + constant)
    assert torch.allclose(torch.stack(shifted), torch.stack(relativistic_logistic(real, generated)))


def test_losses_of_a_discriminator_that_cannot_tell() -> None:
    zeros, threes = torch.zeros(5), torch.full((5,), 3.0)
    assert torch.stack(non_saturating(zeros, zeros)).tolist() == pytest.approx([2 * math.log(2), math.log(2)])
    assert torch.stack(relativistic_logistic(threes, threes)).tolist() == pytest.approx([math.log(2), math.log(2)])
    assert torch.stack(hinge(zeros, zeros)).tolist() == [2, 0]
    assert torch.stack(wasserstein(threes, threes)).tolist() == [0, -3]


def gradients(term: Tensor, *logits: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(term, logits, materialize_grads=True))


@pytest.mark.parametrize("loss", [non_saturating, hinge, wasserstein, relativistic_logistic])
def test_the_two_networks_pull_in_opposite_directions(loss: Loss) -> None:
    # Within (-1, 1), where the hinge has a slope.
    real, generated = (drawn(seed, 20).tanh().requires_grad_() for seed in (1, 2))
    terms = loss(real, generated)
    of_real, of_generated = gradients(terms.discriminator, real, generated)
    assert (of_real < 0).all()
    assert (of_generated > 0).all()
    of_real, of_generated = gradients(terms.generator, real, generated)
    assert (of_generated < 0).all()
    assert (of_real > 0).all() if loss is relativistic_logistic else not of_real.any()


@pytest.mark.parametrize("loss", [non_saturating, relativistic_logistic])
def test_a_discriminator_that_is_sure_and_wrong_gives_finite_losses(loss: Loss) -> None:
    real, generated = torch.full((4,), -1e4, requires_grad=True), torch.full((4,), 1e4, requires_grad=True)
    terms = loss(real, generated)
    # log(1 + e^x) is x for large x: 1e4 for each of the two kinds of pictures, or 2e4 for the lead.
    assert terms.discriminator.item() == pytest.approx(2e4)
    assert terms.generator.item() == 0
    assert gradients(terms.discriminator, real)[0].tolist() == pytest.approx([-0.25] * 4)


def linear(weight: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda images: (images * weight).sum(dim=(1, 2, 3)) + 5


def half_squared_norm(images: Tensor) -> Tensor:
    """Its gradient at a picture is the picture."""
    return images.square().sum(dim=(1, 2, 3)) / 2


@pytest.mark.parametrize("gamma", [1.0, 0.3, 10.0])
@pytest.mark.parametrize("penalty", [r1, r2])
def test_the_penalty_of_a_linear_discriminator(penalty: Penalty, gamma: float) -> None:
    weight = drawn(1, 3, 4, 5)
    expected = gamma / 2 * weight.square().sum().item()
    found = penalty(linear(weight), drawn(2, 6, 3, 4, 5), drawn(3, 6, 3, 4, 5), gamma=gamma)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_r1_looks_at_real_and_r2_at_generated_pictures() -> None:
    # Pictures of norm 5 and 1: the squared norm is 13 in the mean.
    pictures = torch.zeros(2, 1, 2, 2)
    pictures[0, 0, 0], pictures[1, 0, 1, 1] = torch.tensor([3.0, 4.0]), -1.0
    nothing = torch.full_like(pictures, math.nan)
    assert r1(half_squared_norm, pictures, nothing, gamma=3.0).item() == pytest.approx(3 / 2 * 13)
    assert r2(half_squared_norm, nothing, pictures, gamma=3.0).item() == pytest.approx(3 / 2 * 13)
    assert r1(half_squared_norm, pictures, nothing).item() == pytest.approx(13 / 2)
    assert r2(half_squared_norm, nothing, pictures).item() == pytest.approx(13 / 2)


@pytest.mark.parametrize(("norm", "expected"), [(1.0, 0.0), (3.0, 4.0), (0.5, 0.25), (0.0, 1.0)])
def test_the_interpolated_penalty_of_a_linear_discriminator(norm: float, expected: float) -> None:
    weight = norm * F.normalize(drawn(1, 60), dim=0).view(3, 4, 5)
    pictures = drawn(2, 6, 3, 4, 5), drawn(3, 6, 3, 4, 5)
    assert interpolated_gradient_penalty(linear(weight), *pictures, weight=0.7).item() == pytest.approx(
        0.7 * expected, abs=1e-5
    )
    assert interpolated_gradient_penalty(linear(weight), *pictures).item() == pytest.approx(10 * expected, abs=1e-4)


def test_the_interpolated_penalty_looks_between_the_pictures_of_a_pair() -> None:
    torch.manual_seed(0)
    real, generated, seen = drawn(1, 500, 1, 3, 4), drawn(2, 500, 1, 3, 4), []

    def discriminate(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return half_squared_norm(images)

    interpolated_gradient_penalty(discriminate, real, generated)
    (between,) = seen
    way = generated - real
    share = ((between - real) * way).sum(dim=(1, 2, 3)) / way.square().sum(dim=(1, 2, 3))
    assert torch.allclose(between, real + share[:, None, None, None] * way)
    assert (share >= 0).all()
    assert (share < 1).all()
    assert share.mean().item() == pytest.approx(1 / 2, abs=4 / math.sqrt(12 * 500))
    assert share.std().item() == pytest.approx(1 / math.sqrt(12), rel=0.1)


def test_the_interpolated_penalty_of_a_quadratic_discriminator() -> None:
    torch.manual_seed(0)
    real, generated = torch.zeros(20000, 1, 1, 1), torch.ones(20000, 1, 1, 1)
    # The gradient's norm is the place t between 0 and 1: the mean of (t - 1)^2 is 1/3, its deviation sqrt(4/45).
    found = interpolated_gradient_penalty(half_squared_norm, real, generated, weight=1.0).item()
    assert found == pytest.approx(1 / 3, abs=4 * math.sqrt(4 / 45 / 20000))


PENALTIES: list[Penalty] = [r1, r2, interpolated_gradient_penalty]


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_are_differentiable_in_the_discriminators_weights(penalty: Penalty) -> None:
    real, generated = drawn(1, 4, 1, 2, 3), drawn(2, 4, 1, 2, 3)
    hidden, output = drawn(3, 6, 5), drawn(4, 5)

    def of_weights(weights: Tensor) -> Tensor:
        torch.manual_seed(0)  # the same places between pictures every time
        return penalty(lambda images: F.softplus(images.flatten(1) @ weights) @ output, real, generated)

    (found,) = torch.autograd.grad(of_weights(hidden.requires_grad_()), hidden)
    step, expected = 1e-3, torch.zeros_like(hidden)
    for index in torch.cartesian_prod(torch.arange(6), torch.arange(5)).tolist():
        change = torch.zeros_like(hidden)
        change[*index] = step
        expected[*index] = (of_weights(hidden + change) - of_weights(hidden - change)).item() / (2 * step)
    assert expected.abs().max() > 0.1
    assert torch.allclose(found, expected, rtol=1e-2, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_reach_every_weight_but_not_the_generator(penalty: Penalty) -> None:
    torch.manual_seed(0)
    discriminator = ConvDiscriminator((1, 16, 16), widths=(4, 8))
    real, generated = (torch.rand(3, 1, 16, 16, requires_grad=True) for _ in range(2))
    penalty(discriminator, real, generated * 1.0).backward()  # type: ignore[no-untyped-call]
    assert real.grad is None
    assert generated.grad is None
    weights = [p for name, p in discriminator.named_parameters() if name.endswith("weight")]
    assert len(weights) == 3
    assert all(weight.grad is not None and weight.grad.any() and weight.grad.isfinite().all() for weight in weights)


def test_gradients_are_finite_where_the_discriminator_is_flat() -> None:
    weight = torch.zeros(1, 2, 2, requires_grad=True)
    pictures = torch.rand(3, 1, 2, 2), torch.rand(3, 1, 2, 2)
    for penalty in PENALTIES:
        (gradient,) = torch.autograd.grad(penalty(linear(weight), *pictures), weight)
        assert gradient.isfinite().all()
