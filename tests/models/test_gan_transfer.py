"""The GAN that varies a given image: its pairs, its steps and what it refuses."""

from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from facelab.data import Augmentation, FaceDataModule, Splits
from facelab.data.columns import Column
from facelab.data.faces import FaceSet
from facelab.data.order import PK
from facelab.errors import ConfigError
from facelab.losses import r1, relativistic_logistic
from facelab.models import AdversarialOptimizers, Constant, EncodingObjective, Recipe, TransferGAN
from facelab.models.sampling import varied
from facelab.nets import ConvDiscriminator, DiffAugment, ImageVariator, LatentEncoder
from facelab.nets.discriminators import Discriminator
from facelab.training.callbacks.images_seen import ImagesSeen

NONE = np.arange(0)
PAIRS = Recipe(batch_size=8, schedule=Constant(), max_images=16, sampling="pk", images_per_class=2)


class _Recorder(Discriminator):
    """Keeps the pairs that it judges."""

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(nn.Sequential(), 1)
        self.weight = nn.Parameter(torch.ones(image_shape[0]))
        self.judged: list[Tensor] = []

    def maps(self, pairs: Tensor, count: int) -> list[Tensor]:
        return [pairs]

    def forward(self, pairs: Tensor) -> Tensor:
        self.judged.append(pairs.detach().clone())
        return (pairs.mean(dim=(2, 3)) * self.weight).sum(dim=1)


def _model(recipe: Recipe = PAIRS, **changed: Any) -> TransferGAN:
    """For grey images of 32 x 32."""
    torch.manual_seed(0)
    augment, penalty = changed.pop("augment", None), partial(r1, gamma=1.0)
    adam = partial(torch.optim.Adam, lr=1e-3)
    arguments: dict[str, Any] = {
        "generator": partial(ImageVariator, widths=[8, 4], code_dim=6),
        "discriminator": partial(ConvDiscriminator, widths=[4, 8]),
        "objective": EncodingObjective(
            relativistic_logistic,
            [penalty],
            penalty_every=2,
            augment=augment,
            encoder=partial(LatentEncoder, widths=[4, 8]),
            **changed.pop("terms", {}),
        ),
        "optimizers": AdversarialOptimizers(adam, adam),
        "latent_dim": 4,
    }
    return TransferGAN(**{**arguments, **changed}, recipe=recipe, image_shape=(1, 32, 32), num_classes=6)


def _trained(model: TransferGAN, orl: FaceSet, steps: int, workers: int = 0) -> TransferGAN:
    """After so many steps on the first six people."""
    train = np.arange(60)
    order = PK(train, orl.labels[train], 8, 3, images_per_class=2)
    data = FaceDataModule(orl, Splits(train, NONE, NONE), Augmentation([]), order, 8 * steps, 3, workers)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[ImagesSeen(8 * steps, 3)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return model


def test_real_pairs_are_two_images_of_one_person_and_each_is_once_the_given_one(orl: FaceSet) -> None:
    model = _trained(_model(discriminator=_Recorder), orl, steps=2)
    known = {orl.pixels[i].tobytes(): i for i in range(60)}
    judged = cast(_Recorder, model.discriminator).judged
    # In each step: real and generated pairs, those of the penalty in the first, and generated ones for the generator.
    for pairs, mirrored in ((judged[0], False), (judged[4], True)):
        levels = ((pairs.flip(3) if mirrored else pairs) + 1).mul(127.5).round().to(torch.uint8).numpy()
        first, second = (np.array([known[pair[side].tobytes()] for pair in levels]) for side in (0, 1))
        assert (orl.labels[first] == orl.labels[second]).all()
        assert (first != second).all()
        assert len(set(first)) == 8
        assert set(first) == set(second)
    for real, generated in ((judged[0], judged[1]), (judged[4], judged[5])):
        assert torch.equal(real[:, :1], generated[:, :1])
        assert (real[:, 1:] - generated[:, 1:]).abs().mean() > 0.01
    assert len(judged) == 7


def test_the_augmentation_of_a_pair_is_that_of_one_image(orl: FaceSet) -> None:
    shifts = DiffAugment(brightness=0, contrast=0, cutout=0)
    model = _trained(_model(discriminator=_Recorder, augment=shifts, generator=_Copy), orl, steps=1)
    generated = cast(_Recorder, model.discriminator).judged[1]
    assert torch.equal(generated[:, :1], generated[:, 1:])


def test_the_second_image_is_reconstructed_from_the_first() -> None:
    model = _model(discriminator=_Recorder, generator=_Copy, terms={"weight": 2.0, "feature_weight": 0.5, "every": 2})
    images, others = torch.rand(2, 8, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model.step_seed = 5
    terms = model.further_terms(images, others)
    error = (images - others).abs().mean()  # of a copy; its one feature map is the pair, of which half is right
    pairs = torch.cat([images, others], dim=1).abs().mean(dim=(1, 2, 3))
    of_features = ((images - others).abs().mean(dim=(1, 2, 3)) / 2 / pairs).mean()
    assert terms["reconstruction"].item() == pytest.approx(2 * (error + 0.5 * of_features).item(), rel=1e-3)
    mean, log_variance = model.encoder(torch.cat([images, others], dim=1)).chunk(2, dim=1)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    assert terms["kl"].item() == pytest.approx(2 * 0.05 * divergence.mean().item(), rel=1e-4)
    model.images_seen = 8
    assert model.further_terms(images, others) == {}


class _Copy(nn.Module):
    """Returns the image that it is given, with a weight for the optimiser."""

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor, latents: Tensor) -> Tensor:
        return self.weight * images


def test_weights_do_not_depend_on_loader_processes(orl: FaceSet) -> None:
    without, with_one = (_trained(_model(augment=DiffAugment()), orl, 2, workers) for workers in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(without.parameters(), with_one.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(without.parameters(), _model().parameters(), strict=True))


def test_grids_show_each_face_and_what_the_same_latents_make_of_it(orl: FaceSet) -> None:
    model, faces = _model().eval(), 2 * torch.rand(3, 1, 32, 32) - 1
    with torch.no_grad():
        (samples,) = model.sample_grids(faces).values()
        (between,) = model.final_sample_grids(faces).values()
    for grid in (samples, between):
        assert grid.shape == (3, 8, 1, 32, 32)
        assert torch.equal(grid[:, 0], faces)
    pixels = np.stack([orl.pixels[i] for i in (0, 5)])
    both = varied(model, pixels, torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    alone = varied(model, pixels[:1], torch.randn(2, 4, generator=torch.Generator().manual_seed(0))[:1])
    assert both.shape == (2, 32, 32, 1)
    assert abs(both[:1].astype(int) - alone).max() <= 1


def test_people_with_a_single_image_are_no_donors(orl: FaceSet) -> None:
    TransferGAN.check_training(orl, np.array([0, 1, 10, 11]), with_synthetic=False)
    with pytest.raises(ConfigError, match=r"1 of 2 people have a single training image: s2\. Leave them out"):
        TransferGAN.check_training(orl, np.array([0, 1, 10]), with_synthetic=False)
    with pytest.raises(ConfigError, match="Remove synthetic="):
        TransferGAN.check_training(orl, np.array([0, 1]), with_synthetic=True)
    number = Column(np.arange(400) % 10, [str(i) for i in range(10)])
    numbered = replace(orl, columns={**orl.columns, "number": number}, label="number")
    with pytest.raises(ConfigError, match=r"data\.label=number: model=gan_transfer learns from pairs"):
        TransferGAN.check_training(numbered, np.arange(40), with_synthetic=False)


def test_a_recipe_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="sampling=pk images_per_class=2"):
        _model(Recipe(batch_size=8, schedule=Constant(), max_images=16))
