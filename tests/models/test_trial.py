"""Losses that cannot train a model are refused while it is built."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from facelab.losses import (
    absolute_error,
    arcface,
    cross_entropy,
    hinge,
    interpolated_gradient_penalty,
    non_saturating,
    r1,
    r2,
    relativistic_logistic,
    squared_error,
    triplet,
    wasserstein,
)
from facelab.losses.adversarial import AdversarialTerms
from facelab.models import (
    GAN,
    AdversarialObjective,
    AdversarialOptimizers,
    Autoencoder,
    Constant,
    Recipe,
    VariationalAutoencoder,
)
from facelab.nets import BottleneckEncoder, ConvDecoder, ConvDiscriminator

RECIPE = Recipe(batch_size=8, schedule=Constant(), max_images=8)


def _autoencoder(loss: Callable[..., Tensor], kind: type[Autoencoder] = Autoencoder, **further: Any) -> Autoencoder:
    return kind(
        encoder=partial(BottleneckEncoder, widths=[4]),
        decoder=partial(ConvDecoder, widths=[4]),
        loss=loss,
        optimizer=torch.optim.SGD,
        recipe=RECIPE,
        latent_dim=3,
        image_shape=(1, 16, 16),
        num_classes=2,
        **further,
    )


def _gan(loss: Callable[..., AdversarialTerms], *penalties: Callable[..., Tensor]) -> GAN:
    return GAN(
        generator=partial(ConvDecoder, widths=[8, 4]),
        discriminator=partial(ConvDiscriminator, widths=[4, 8]),
        objective=AdversarialObjective(loss=loss, penalties=penalties),
        optimizers=AdversarialOptimizers(torch.optim.SGD, torch.optim.SGD),
        recipe=RECIPE,
        latent_dim=6,
        image_shape=(1, 16, 16),
        num_classes=2,
    )


@pytest.mark.parametrize("loss", [squared_error, absolute_error, torch.nn.functional.smooth_l1_loss])
def test_losses_of_reconstructions_are_accepted_also_without_memory_for_values(loss: Callable[..., Tensor]) -> None:
    with torch.device("meta"):
        _autoencoder(loss)
    _autoencoder(loss, VariationalAutoencoder, kl_weight=1.0)


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (arcface, "loss failed on a trial"),
        (cross_entropy, "a gradient of length 0, from which nothing is learnt"),  # of one channel
        (lambda made, true: (made - true).square(), "loss failed on a trial"),  # no scalar
        (lambda made, true: true.mean(), "loss failed on a trial"),
        (lambda made, true: made.mean() / 0, "loss gave"),
    ],
)
def test_losses_that_train_no_autoencoder_are_refused(loss: Callable[..., Tensor], says: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){says}.*Expected a function of reconstructions and originals"):
        _autoencoder(loss)


@pytest.mark.parametrize("loss", [hinge, non_saturating, wasserstein, relativistic_logistic])
def test_all_losses_and_penalties_of_gans_are_accepted_and_no_random_number_is_drawn(
    loss: Callable[..., AdversarialTerms],
) -> None:
    objective = AdversarialObjective(loss, [r1, r2, interpolated_gradient_penalty])
    before = torch.random.get_rng_state()
    objective.try_out((3, 64, 64))
    assert torch.equal(before, torch.random.get_rng_state())
    _gan(loss, r1, r2, interpolated_gradient_penalty)


def test_losses_and_penalties_that_train_no_gan_are_refused() -> None:
    with pytest.raises(ValueError, match=r"(?s)objective\.penalties\.1 failed on a trial.*such as facelab\.losses\.r1"):
        _gan(relativistic_logistic, r1, triplet)
    with pytest.raises(ValueError, match=r"objective\.loss \(discriminator\) failed on a trial"):
        _gan(squared_error)  # type: ignore[arg-type]
