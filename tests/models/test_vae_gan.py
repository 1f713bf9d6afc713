"""GANs with an encoder: what the terms of reconstruction are, and what they leave alone."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facelab.losses import r1, relativistic_logistic
from facelab.losses.reconstruction import feature_error, normal_kl
from facelab.models import (
    VAEGAN,
    AdversarialOptimizers,
    ConditionalVAEGAN,
    Constant,
    EncodingObjective,
    Recipe,
)
from facelab.nets import (
    ConditionalDecoder,
    ConvDecoder,
    ConvDiscriminator,
    LatentEncoder,
    LocalContrastNormalisation,
    ProjectionDiscriminator,
)


def _model(kind: type[VAEGAN] = VAEGAN, **objective: Any) -> VAEGAN:
    """For grey images of 16 x 16 and three classes."""
    torch.manual_seed(0)
    conditional = kind is ConditionalVAEGAN
    module = kind(
        generator=partial(ConditionalDecoder if conditional else ConvDecoder, widths=[8, 4]),
        discriminator=partial(ProjectionDiscriminator if conditional else ConvDiscriminator, widths=[4, 8]),
        objective=EncodingObjective(
            loss=relativistic_logistic,
            penalties=[partial(r1, gamma=1.0)],
            encoder=partial(LatentEncoder, widths=[4, 8]),
            **objective,
        ),
        optimizers=AdversarialOptimizers(torch.optim.SGD, torch.optim.SGD),
        recipe=Recipe(batch_size=8, schedule=Constant(), max_images=8),
        latent_dim=6,
        image_shape=(1, 16, 16),
        num_classes=3,
    )
    module.step_seed = 5
    return module


def _batch() -> dict[str, Tensor]:
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return {"image": images, "label": torch.arange(8) % 3}


class _Given(nn.Module):
    """Returns the same rows for whatever images."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, images: Tensor) -> Tensor:
        return self.rows.expand(len(images), -1)


def test_the_error_of_feature_maps_by_hand() -> None:
    original = [torch.tensor([[1.0, -3.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0], [4.0, 0.0]])]
    made = [torch.tensor([[2.0, -3.0], [0.0, 1.0]]), torch.tensor([[0.001, 0.001], [2.0, 0.0]])]
    # First image: 0.5 / (2 + 0.001), and 0.001 / (0 + 0.001); second image: 0, and 1 / (2 + 0.001).
    assert float(feature_error(made, original)) == pytest.approx((0.5 / 2.001 + 1.0 + 1 / 2.001) / 2)


def test_the_terms_by_hand() -> None:
    module, batch = _model(weight=2.0, kl_weight=0.5, feature_weight=0.0), _batch()
    mean, log_variance = torch.full((1, 6), 0.3), torch.full((1, 6), -8.0)
    module.encoder = _Given(torch.cat([mean, log_variance], dim=1))
    terms = module.further_terms(batch["image"], batch["label"])
    assert list(terms) == ["reconstruction", "kl"]
    assert float(terms["kl"]) == pytest.approx(2 * 0.5 * float(normal_kl(mean, log_variance)) / 6)
    flips, noise = module.encoder_draws(8, module.device)
    assert 0 < int((flips < 0.5).sum()) < 8
    errors = [
        (module.generate(mean + 0.018315638 * noise[i : i + 1], batch["label"][i : i + 1]) - image).abs().mean()
        for i, original in enumerate(batch["image"])
        for image in [original.flip(2) if flips[i] >= 0.5 else original]
    ]
    torch.testing.assert_close(terms["reconstruction"], 2 * torch.stack(errors).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [VAEGAN, ConditionalVAEGAN])
def test_the_terms_depend_on_the_seed_of_the_step_alone_and_average_over_parts(kind: type[VAEGAN]) -> None:
    batch, found = _batch(), []
    for step_seed, state in ((5, 1), (5, 2), (6, 1)):
        module = _model(kind)
        module.step_seed = step_seed
        torch.manual_seed(state)
        found.append(module.further_terms(batch["image"], batch["label"]))
    assert found[0] == found[1]
    assert found[0]["reconstruction"] != found[2]["reconstruction"]
    module = _model(kind)
    parts = []
    for rank in (0, 1):  # two processes, of which each takes every other image
        own, share = slice(rank, None, 2), module.encoder_draws(8, module.device)
        module.encoder_draws = lambda count, device, own=own, share=share: tuple(one[own] for one in share)  # type: ignore[method-assign, misc]
        parts.append(module.further_terms(batch["image"][own], batch["label"][own])["reconstruction"])
        del module.encoder_draws
    torch.testing.assert_close((parts[0] + parts[1]) / 2, found[0]["reconstruction"])


def test_the_terms_come_every_nth_step_and_do_not_train_the_discriminator() -> None:
    batch, module = _batch(), _model(every=3)
    for images_seen, comes in ((0, True), (8, False), (16, False), (24, True)):
        module.images_seen = images_seen
        assert bool(module.further_terms(batch["image"], batch["label"])) == comes
    module.images_seen = 0
    module.discriminator.requires_grad_(False)
    torch.autograd.backward(list(module.further_terms(batch["image"], batch["label"]).values()))
    assert all(weight.grad is None for weight in module.discriminator.parameters())
    assert all(weight.grad is not None for weight in module.encoder.parameters())
    trained = {id(weight) for weight in module.generator_parameters()}
    assert trained == {id(weight) for part in (module.generator, module.encoder) for weight in part.parameters()}


@pytest.mark.parametrize("kind", [VAEGAN, ConditionalVAEGAN])
def test_the_discriminator_sees_detail_beside_the_images(kind: type[VAEGAN]) -> None:
    normalised = LocalContrastNormalisation()
    plain, model, batch = _model(kind), _model(kind, detail=normalised), _batch()
    images, labels = batch["image"], batch["label"]
    weights = plain.discriminator.state_dict()
    first = next(name for name, value in weights.items() if value.dim() == 4)
    none = torch.zeros_like(weights[first])
    for ours, theirs in (([weights[first], none], images), ([none, weights[first]], 0.5 * normalised(images))):
        model.discriminator.load_state_dict({**weights, first: torch.cat(ours, dim=1)})
        assert torch.allclose(model.discriminate(images, labels), plain.discriminate(theirs, labels), atol=1e-6)
        assert torch.allclose(model.embed(images), plain.embed(theirs), atol=1e-6)
