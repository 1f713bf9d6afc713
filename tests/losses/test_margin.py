"""The margin loss against angles computed by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from facelab.losses.classification import cross_entropy
from facelab.losses.margin import additive_angular_margin, arcface, normalised_softmax, scale_for


@pytest.mark.parametrize("degrees", [5.0, 60.0, 90.0, 140.0])
def test_the_own_angle_is_widened_by_the_margin(degrees: float) -> None:
    theta, margin = math.radians(degrees), 0.5
    cosines = torch.tensor([[math.cos(theta), 0.3]])
    widened = additive_angular_margin(cosines, torch.tensor([0]), margin_rad=margin)
    assert widened[0, 0].item() == pytest.approx(math.cos(theta + margin), abs=1e-5)
    assert widened[0, 1].item() == pytest.approx(0.3)


def test_beyond_pi_it_keeps_falling() -> None:
    angles = torch.linspace(0.01, math.pi - 0.01, 200)
    cosines = torch.stack([angles.cos(), torch.zeros(200)], dim=1)
    widened = additive_angular_margin(cosines, torch.zeros(200, dtype=torch.int64), margin_rad=0.5)[:, 0]
    assert (widened.diff() < 1e-6).all()


def test_without_margin_it_is_scaled_cross_entropy() -> None:
    torch.manual_seed(0)
    cosines, labels = torch.rand(6, 4) * 2 - 1, torch.randint(0, 4, (6,))
    assert torch.allclose(arcface(cosines, labels, margin_rad=0.0, scale=7.0), F.cross_entropy(7 * cosines, labels))


def test_the_loss_by_hand() -> None:
    theta, margin, scale = 0.8, 0.3, 4.0
    cosines = torch.tensor([[math.cos(theta), -0.2, 0.1]])
    own = math.exp(scale * math.cos(theta + margin))
    others = math.exp(scale * -0.2) + math.exp(scale * 0.1)
    expected = -math.log(own / (own + others))
    loss = arcface(cosines, torch.tensor([0]), margin_rad=margin, scale=scale)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_gradients_are_finite_at_the_ends() -> None:
    cosines = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(arcface(cosines, torch.tensor([0, 0])), cosines)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("arguments", [{"margin_rad": -0.1}, {"margin_rad": 2.0}, {"scale": 0.0}])
def test_wrong_arguments_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        arcface(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64), **arguments)


def test_label_smoothing_by_hand() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    log_p = logits.log_softmax(1)[0]
    expected = -(0.9 * log_p[0] + 0.1 * log_p.mean())
    assert torch.allclose(cross_entropy(logits, labels, label_smoothing=0.1), expected)
    with pytest.raises(ValueError, match="label_smoothing"):
        cross_entropy(logits, labels, label_smoothing=1.0)


def test_the_scale_follows_the_number_of_classes() -> None:
    # AdaCos by hand: s = sqrt(2) log(C - 1) makes (C - 1) others at right angles weigh as much as the own one at 45
    # degrees, since then exp(s cos 45) = C - 1.
    for classes in (40, 158, 5749):
        assert math.exp(scale_for(classes) * math.cos(math.pi / 4)) == pytest.approx(classes - 1)
    assert scale_for(1) == scale_for(2) == scale_for(20) == 5
    torch.manual_seed(0)
    cosines, labels = torch.rand(6, 158) * 2 - 1, torch.randint(0, 158, (6,))
    by_rule = normalised_softmax(cosines, labels)
    assert torch.equal(by_rule, F.cross_entropy(math.sqrt(2) * math.log(157) * cosines, labels))
