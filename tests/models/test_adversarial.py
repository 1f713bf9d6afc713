"""Steps of adversarial training by hand, and the warning that the discriminator has won."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facelab.losses import non_saturating, r1, relativistic_logistic, wasserstein
from facelab.models import (
    GAN,
    AdversarialObjective,
    AdversarialOptimizers,
    Constant,
    EncodingObjective,
    Recipe,
)
from facelab.models.base import to_float
from facelab.nets import ConvDecoder, ConvDiscriminator, DiffAugment, LatentEncoder
from facelab.training.callbacks.discriminator_won import WINDOW_STEPS, DiscriminatorWon
from tests.training.pointwise import fit, loader

RATE, GAMMA, EVERY = 0.1, 3.0, 3


class _Level(nn.Module):
    """Generates images of one grey level, whatever the latent."""

    def __init__(self, **shapes: object) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.25))

    def forward(self, latents: Tensor) -> Tensor:
        return self.level.expand(len(latents), 3, 1, 1)


class _Mean(nn.Module):
    """Its logit is the mean grey level times a weight, 0.5 at first."""

    def __init__(self, **shapes: object) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        return self.weight * images.mean(dim=(1, 2, 3))


class _Negative(DiffAugment):
    """Shows the discriminator negatives."""

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return -images


class _Recording(GAN):
    """Keeps its two weights after each step."""

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        self.__dict__.setdefault("kept", []).append(
            (self.discriminator.weight.item(), self.generator.level.item())  # type: ignore[operator]
        )


def _gan(objective: AdversarialObjective, **networks: Any) -> GAN:
    sgd = partial(torch.optim.SGD, lr=RATE)
    return _Recording(
        generator=networks.get("generator", _Level),
        discriminator=networks.get("discriminator", _Mean),
        objective=objective,
        optimizers=AdversarialOptimizers(sgd, sgd),
        recipe=Recipe(batch_size=4, schedule=Constant(), max_images=32),
        latent_dim=2,
        image_shape=networks.get("image_shape", (3, 1, 1)),
        num_classes=3,
    )


def test_steps_by_hand() -> None:
    """Penalties come every third step, three times as heavy; both networks learn from augmented images."""
    module = _gan(AdversarialObjective(wasserstein, [partial(r1, gamma=GAMMA)], EVERY, _Negative()))
    fit(module)
    weight, level, expected = 0.5, 0.25, []
    for step, batch in enumerate(loader()):
        real = float(to_float(batch["image"]).mean())
        # Logits of negatives: -weight * real and -weight * level. R1: gamma / 2 times weight^2 / 3, of three pixels.
        slope = (-level) - (-real)
        if step % EVERY == 0:
            slope += EVERY * GAMMA * weight / 3
        weight -= RATE * slope
        level -= RATE * weight
        expected.append((weight, level))
    assert module.__dict__["kept"] == [pytest.approx(pair, abs=1e-5) for pair in expected]


def test_a_gan_without_encoder_refuses_the_objective_of_one() -> None:
    objective = EncodingObjective(loss=relativistic_logistic, encoder=partial(LatentEncoder, widths=[4, 8]))
    with pytest.raises(ValueError, match=r"has no encoder: choose facelab\.models\.AdversarialObjective"):
        _gan(
            objective,
            generator=partial(ConvDecoder, widths=[8, 4]),
            discriminator=partial(ConvDiscriminator, widths=[4, 8]),
            image_shape=(1, 16, 16),
        )


@pytest.mark.parametrize(
    ("loss", "undecided"), [(relativistic_logistic, 0.6931), (non_saturating, 1.3863), (wasserstein, 0.0)]
)
def test_a_discriminator_that_has_won_is_told_once(loss: Any, undecided: float) -> None:
    said: list[str] = []
    module = _gan(AdversarialObjective(loss))
    assert module.undecided_loss == pytest.approx(undecided, abs=1e-4)
    watch: Any = DiscriminatorWon(said.append)
    for mean, warnings in ((0.11 * undecided, 0), (0.09 * undecided, 1), (0.0, 1)):
        for step in range(WINDOW_STEPS):
            if step == 50:  # a resumed run goes on with the window
                state, watch = watch.state_dict(), DiscriminatorWon(said.append)
                watch.load_state_dict(state)
            spread = 0.05 * undecided * (-1) ** step
            watch.on_train_batch_end(
                None, module, {"terms": {"discriminator_loss": torch.tensor(mean + spread)}}, {}, 0
            )
        assert len(said) == (warnings if undecided else 0)
    assert watch.remark == (said[0] if undecided else None)
    assert not undecided or "Halve lr in model.optimizers.generator" in said[0]
