"""Losses over pairs against loops over images."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from facelab.losses import supervised_contrastive, triplet

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 2, 2])


def _embeddings(seed: int = 0, count: int = len(LABELS)) -> Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


def _triplet_by_loops(embeddings: Tensor, labels: Tensor, margin: float | None) -> float:
    unit = [row / row.norm() for row in embeddings]
    losses = []
    for anchor, own in enumerate(labels):
        distances = [float((unit[anchor] - other).norm()) for other in unit]
        positives = [d for i, d in enumerate(distances) if labels[i] == own and i != anchor]
        negatives = [d for i, d in enumerate(distances) if labels[i] != own]
        if positives and negatives:
            excess = max(positives) - min(negatives)
            losses.append(math.log1p(math.exp(excess)) if margin is None else max(0.0, excess + margin))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("margin", [None, 0.2, 1.0])
def test_triplets_are_the_hardest_of_the_batch(margin: float | None) -> None:
    for seed in range(5):
        found = triplet(_embeddings(seed), LABELS, margin=margin)
        assert float(found) == pytest.approx(_triplet_by_loops(_embeddings(seed), LABELS, margin), abs=1e-5)
    alone = torch.tensor([0, 1, 0, 2, 1, 0, 3, 4])  # images without a partner are no anchors
    assert float(triplet(_embeddings(), alone)) == pytest.approx(
        _triplet_by_loops(_embeddings(), alone, None), abs=1e-5
    )


def test_a_triplet_by_hand() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])  # distances sqrt(2), 2 and sqrt(2)
    found = triplet(embeddings, torch.tensor([0, 0, 1]), margin=1.0)
    assert float(found) == pytest.approx((math.sqrt(2) - 2 + 1 + 1) / 2, abs=1e-6)


def _supcon_by_loops(embeddings: Tensor, labels: Tensor, temperature: float) -> float:
    unit = [row / row.norm() for row in embeddings]
    losses = []
    for anchor, own in enumerate(labels):
        weights = [math.exp(float(unit[anchor] @ other) / temperature) for other in unit]
        total = sum(weight for i, weight in enumerate(weights) if i != anchor)
        positives = [weight for i, weight in enumerate(weights) if labels[i] == own and i != anchor]
        if positives:
            losses.append(-sum(math.log(weight / total) for weight in positives) / len(positives))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_supervised_contrast_is_equation_2(temperature: float) -> None:
    for labels in (LABELS, torch.tensor([0, 1, 0, 2, 1, 0, 3, 4])):
        found = supervised_contrastive(_embeddings(), labels, temperature=temperature)
        assert float(found) == pytest.approx(_supcon_by_loops(_embeddings(), labels, temperature), rel=1e-5)


def test_supervised_contrast_by_hand() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    first, second = -math.log(1 / (1 + math.e)), -math.log(1 / 2)  # cosines to the positive 0, to the negative 1 or 0
    found = supervised_contrastive(embeddings, torch.tensor([0, 0, 1]), temperature=1.0)
    assert float(found) == pytest.approx((first + second) / 2, abs=1e-6)


@pytest.mark.parametrize("loss", [triplet, supervised_contrastive])
@pytest.mark.parametrize("labels", [LABELS, torch.zeros(8), torch.arange(8), torch.tensor([0, 0, 1, 2, 3, 4, 5, 6])])
def test_gradients_are_finite_whatever_the_batch(loss: Callable[[Tensor, Tensor], Tensor], labels: Tensor) -> None:
    embeddings = _embeddings()
    embeddings[1] = embeddings[0]  # equal images
    embeddings[2] = 0
    embeddings.requires_grad_()
    value = loss(embeddings, labels.long())
    (gradient,) = torch.autograd.grad(value, embeddings)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", [triplet, supervised_contrastive])
def test_lengths_and_the_order_of_images_do_not_matter(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    embeddings, order = _embeddings(), torch.randperm(8, generator=torch.Generator().manual_seed(1))
    scaled = embeddings * torch.linspace(0.5, 3, 8)[:, None]
    assert torch.allclose(loss(embeddings, LABELS), loss(scaled[order], LABELS[order]), atol=1e-5)


@pytest.mark.parametrize("loss", [triplet, supervised_contrastive])
def test_training_pulls_classes_together(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    embeddings = _embeddings().requires_grad_()
    optimizer = torch.optim.Adam([embeddings], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        torch.autograd.backward(loss(embeddings, LABELS))
        optimizer.step()
    unit = torch.nn.functional.normalize(embeddings.detach())
    cosines, same = unit @ unit.T, LABELS[:, None] == LABELS
    assert cosines[same].min() > cosines[~same].max()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="margin must be above 0"):
        triplet(_embeddings(), LABELS, margin=0.0)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        supervised_contrastive(_embeddings(), LABELS, temperature=0.0)
