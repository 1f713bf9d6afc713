"""CosFace and AdaFace against their formulas by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from facelab.losses import adaface, arcface, cosface, cross_entropy
from facelab.nets import NormAwareCosineHead
from tests.models.tiny import tiny_cnn


def test_cosface_by_hand() -> None:
    cosines = torch.tensor([[0.5, 0.1], [-0.3, 0.8]])
    first = math.log(1 + math.exp(2 * 0.1 - 2 * (0.5 - 0.2)))
    second = math.log(1 + math.exp(2 * -0.3 - 2 * (0.8 - 0.2)))
    found = cosface(cosines, torch.tensor([0, 1]), margin=0.2, scale=2.0)
    assert float(found) == pytest.approx((first + second) / 2, rel=1e-6)


def test_without_margins_all_are_scaled_cross_entropy() -> None:
    torch.manual_seed(0)
    cosines, labels = torch.rand(6, 4) * 1.9 - 0.95, torch.randint(0, 4, (6,))
    expected = F.cross_entropy(7 * cosines, labels)
    assert torch.allclose(cosface(cosines, labels, margin=0.0, scale=7.0), expected)
    assert torch.allclose(adaface(cosines, labels, torch.randn(6), margin=0.0, scale=7.0), expected, atol=1e-5)


@pytest.mark.parametrize("norm_score", [-10.0, -1.5, 0.0, 1.5, 10.0])
def test_adaface_by_hand(norm_score: float) -> None:
    theta, margin, h, scale = 0.8, 0.4, 0.333, 4.0
    quality = max(-1.0, min(1.0, norm_score * h))
    own = math.cos(theta - margin * quality) - (margin * quality + margin)
    others = math.exp(scale * -0.2) + math.exp(scale * 0.1)
    expected = -math.log(math.exp(scale * own) / (math.exp(scale * own) + others))
    cosines = torch.tensor([[math.cos(theta), -0.2, 0.1]])
    found = adaface(cosines, torch.tensor([0]), torch.tensor([norm_score]), margin=margin, h=h, scale=scale)
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_adaface_lies_between_arcface_and_cosface() -> None:
    torch.manual_seed(0)
    cosines, labels = torch.rand(6, 4) - 0.3, torch.randint(0, 4, (6,))
    of_cosface = cosface(cosines, labels, margin=0.4, scale=8.0)
    assert torch.allclose(adaface(cosines, labels, torch.zeros(6), scale=8.0), of_cosface)  # quality 0
    of_arcface = arcface(cosines, labels, margin_rad=0.4, scale=8.0)
    assert torch.allclose(adaface(cosines, labels, torch.full((6,), -9.0), scale=8.0), of_arcface, atol=1e-5)  # -1


def test_wrong_arguments_are_refused() -> None:
    cosines, labels = torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64)
    for wrong in ({"margin": -0.1}, {"margin": 1.1}, {"scale": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            cosface(cosines, labels, **wrong)
    for wrong in ({"margin": -0.1}, {"margin": 1.6}, {"h": 0.0}, {"scale": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            adaface(cosines, labels, torch.zeros(2), **wrong)
    with pytest.raises(ValueError, match="momentum"):
        NormAwareCosineHead(4, 2, momentum=0.0)


def test_the_head_standardises_lengths_by_moving_averages() -> None:
    torch.manual_seed(0)
    head, first, second = NormAwareCosineHead(4, 2, momentum=0.25), torch.randn(32, 4), 3 * torch.randn(32, 4)
    found = head.offered(first)["norm_scores"]
    assert torch.allclose(found, (first.norm(dim=1) - first.norm(dim=1).mean()) / (first.norm(dim=1).std() + 1e-3))
    found = head.offered(second)["norm_scores"]
    mean = 0.75 * first.norm(dim=1).mean() + 0.25 * second.norm(dim=1).mean()
    std = 0.75 * first.norm(dim=1).std() + 0.25 * second.norm(dim=1).std()
    assert torch.allclose(found, (second.norm(dim=1) - mean) / (std + 1e-3), atol=1e-5)
    kept = {name: value.clone() for name, value in head.state_dict().items()}
    assert {"norm_mean", "norm_std", "batches"} < set(kept)  # a checkpoint holds them
    head.eval().offered(first)
    assert all(torch.equal(value, kept[name]) for name, value in head.state_dict().items())


def test_a_model_trains_by_it_and_has_a_loss_of_each_image() -> None:
    torch.manual_seed(0)
    module = tiny_cnn(head=NormAwareCosineHead, loss=adaface)
    batch = {"image": torch.rand(6, 1, 16, 16), "label": torch.arange(6) % 2, "index": torch.arange(6)}
    torch.autograd.backward(module.losses(batch)["loss"])
    assert all(parameter.grad is not None for parameter in module.parameters())
    found = module.eval().validation_step(batch, 0)["loss"]
    alone = [module.losses({name: value[[i]] for name, value in batch.items()})["loss"] for i in range(6)]
    assert torch.allclose(found, torch.stack(alone), atol=1e-5)
    with pytest.raises(ValueError, match="'norm_scores'"):
        tiny_cnn(loss=adaface)  # the plain head does not offer it
    tiny_cnn(head=NormAwareCosineHead, loss=cross_entropy)
