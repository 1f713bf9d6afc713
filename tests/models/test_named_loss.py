"""Losses get what their arguments name."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facelab.losses import cross_entropy, normalised_softmax
from facelab.models.named_loss import NamedLoss
from tests.models.tiny import tiny_cnn


def spread(embeddings: Tensor, labels: Tensor, *, weight: float = 1.0) -> Tensor:
    """Mean squared distance to the mean of the own class."""
    own = (labels[:, None] == labels).to(embeddings)
    return weight * (embeddings - own @ embeddings / own.sum(dim=1, keepdim=True)).square().mean()


def everything(labels: Tensor, identities: Tensor, logits: Tensor, embeddings: Tensor, cosines: Tensor) -> Tensor:
    """Tells its arguments apart."""
    weighted = 2 * labels.sum() + 3 * identities.sum() + 5 * logits.sum() + 7 * embeddings.sum() + 11 * cosines.sum()
    return weighted.float()


def _batch(count: int = 6) -> dict[str, Tensor]:
    numbers = torch.arange(count)
    return {"image": torch.rand(count, 1, 16, 16), "label": numbers % 2, "identity": numbers + 10, "index": numbers}


def test_each_argument_gets_the_value_it_names() -> None:
    torch.manual_seed(0)
    module, batch = tiny_cnn(loss=everything).eval(), _batch()
    embeddings = module.embed(batch["image"])
    scores = module.classify(embeddings)
    assert scores is not None
    expected = everything(batch["label"], batch["identity"], scores, embeddings, scores)
    assert torch.allclose(module.losses(batch)["loss"], expected)


def test_a_module_may_be_a_loss() -> None:
    class Doubled(nn.Module):
        def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
            return 2 * cross_entropy(logits, labels)

    module, batch = tiny_cnn(loss=Doubled()).eval(), _batch()
    scores = module.head(module.embed(batch["image"]))  # type: ignore[misc]
    assert torch.allclose(module.losses(batch)["loss"], 2 * cross_entropy(scores, batch["label"]))


def test_a_loss_of_embeddings_has_no_head_no_accuracy_and_no_validation_loss() -> None:
    torch.manual_seed(0)
    module, batch = tiny_cnn(loss=partial(spread, weight=2.0), head=None), _batch()
    terms = module.losses(batch)
    assert set(terms) == {"loss"}
    torch.autograd.backward(terms["loss"])
    assert all(parameter.grad is not None for parameter in module.encoder.parameters())
    found = module.eval().validation_step(batch, 0)
    assert set(found) == {"embedding", "label", "index"}  # no predicted labels: protocols take the linear probe
    assert module.validation_terms(found) == {}
    assert not module.classifies
    assert not module.has_validation_loss


def test_a_loss_of_embeddings_and_scores_predicts_labels_without_a_validation_loss() -> None:
    def both(embeddings: Tensor, cosines: Tensor, labels: Tensor) -> Tensor:
        return normalised_softmax(cosines, labels) + spread(embeddings, labels)

    module, batch = tiny_cnn(loss=both).eval(), _batch()
    assert set(module.losses(batch)) == {"loss", "accuracy"}
    assert set(module.validation_step(batch, 0)) == {"embedding", "predicted", "label", "index"}


def test_what_does_not_fit_is_refused() -> None:
    def with_poses(embeddings: Tensor, poses: Tensor) -> Tensor:
        return embeddings.sum() + poses.sum()

    def of_labels(labels: Tensor) -> Tensor:
        return labels.sum()

    known = "cosines, embeddings, identities, labels, logits"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"loss": with_poses}, f"the loss asks for 'poses'.* A loss may name {known};"),
        ({"loss": nn.functional.cross_entropy}, f"the loss asks for 'input'.* A loss may name {known};"),
        ({"loss": spread}, r"asks for embeddings and labels, so the head would not be trained\. Set model\.head=null"),
        ({"loss": of_labels}, r"asks for labels, which do not depend on the weights\."),
        ({"loss": cross_entropy, "head": None}, r"asks for logits and labels, and there is no head .* Set model\.head"),
        ({"loss": of_labels, "head": None}, r"asks for labels, which do not depend on the weights\."),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=message):
            tiny_cnn(**arguments)


def test_optional_arguments_are_given_by_name_too() -> None:
    def loss(embeddings: Tensor, labels: Tensor, identities: Tensor | None = None, margin: float = 1.0) -> Tensor:
        assert identities is not None
        return embeddings.sum() + identities.sum() * margin

    assert NamedLoss(loss, offered=None).names == ["embeddings", "labels", "identities"]
