"""Order and augmentation are functions of (seed, images seen), whatever the number of workers or ranks."""

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from facelab.config.build import build
from facelab.config.check import plain
from facelab.config.compose import config_folder
from facelab.data.augment import Augmentation
from facelab.data.faces import FaceSet
from facelab.data.module import FaceDataModule
from facelab.data.sampler import EndlessBatchSampler, EvaluationSampler
from facelab.data.splits.base import split
from facelab.data.splits.rules import FewShot


def _augmentation(name: str) -> Augmentation:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = plain(compose("train", [f"augment={name}"]))
    augmentation = build({"augment": config["augment"]})["augment"]
    assert isinstance(augmentation, Augmentation)
    return augmentation


def _images(orl: FaceSet, workers: int, seed: int = 1, name: str = "strong") -> torch.Tensor:
    splits = split(orl, FewShot(train_per_identity=1))
    module = FaceDataModule(orl, splits, _augmentation(name), 24, 24 * 5, seed, workers)
    return torch.cat([batch["image"] for batch in module.train_dataloader()])


@pytest.mark.parametrize("name", ["light", "standard", "strong"])
def test_the_same_pictures_whatever_the_number_of_workers(orl: FaceSet, name: str) -> None:
    alone, three = _images(orl, 0, name=name), _images(orl, 3, name=name)
    assert torch.equal(alone, three)


def test_other_pictures_with_another_seed(orl: FaceSet) -> None:
    assert not torch.equal(_images(orl, 0, seed=1), _images(orl, 0, seed=2))


@pytest.mark.parametrize("name", ["light", "standard", "strong"])
def test_other_pictures_every_epoch(orl: FaceSet, name: str) -> None:
    augmentation, image = _augmentation(name), orl.pixels[0]
    shown = {augmentation(image, seed=1, epoch=epoch, index=0).tobytes() for epoch in range(20)}
    assert len(shown) == 20


def test_the_original_stays_as_it_is(orl: FaceSet) -> None:
    before, augmentation = orl.pixels[0].copy(), _augmentation("strong")
    for epoch in range(20):
        augmentation(orl.pixels[0], seed=1, epoch=epoch, index=0)
    assert np.array_equal(before, orl.pixels[0])
    assert np.array_equal(_augmentation("none")(before, seed=1, epoch=0, index=0), before)


def test_originals_come_beside_what_was_made_of_them(orl: FaceSet) -> None:
    splits = split(orl, FewShot(train_per_identity=1))
    module = FaceDataModule(orl, splits, _augmentation("strong"), 24, 48, 1, workers=0, with_originals=True)
    for batch in module.train_dataloader():
        for image, original, index in zip(batch["image"], batch["original"], batch["index"], strict=True):
            assert np.array_equal(original.permute(1, 2, 0).numpy(), orl.pixels[int(index)])
            assert not torch.equal(image, original)


def test_transforms_draw_independently(orl: FaceSet) -> None:
    import albumentations

    flips = [albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)]
    augmentation, image = Augmentation(flips), orl.pixels[0]
    outcomes = {augmentation(image, seed=0, epoch=epoch, index=0).tobytes() for epoch in range(64)}
    assert len(outcomes) == 4  # in lockstep there would be two


def test_every_epoch_shows_every_picture_once() -> None:
    indices = np.arange(100, 117)
    draws = [draw for batch in EndlessBatchSampler(indices, 8, 17 * 8, seed=3) for draw in batch]
    for epoch in range(8):
        assert sorted(index for e, index in draws if e == epoch) == list(indices)
    orders = {tuple(index for e, index in draws if e == epoch) for epoch in range(8)}
    assert len(orders) == 8


def test_a_batch_may_be_larger_than_the_set() -> None:
    batches = list(EndlessBatchSampler(np.arange(3), 8, 16, seed=0))
    assert [len(batch) for batch in batches] == [8, 8]
    assert [epoch for batch in batches for epoch, _ in batch] == [p // 3 for p in range(16)]


@pytest.mark.parametrize("start", [0, 8, 40])
def test_a_run_goes_on_where_it_stopped(start: int) -> None:
    whole = list(EndlessBatchSampler(np.arange(13), 8, 80, seed=5))
    rest = EndlessBatchSampler(np.arange(13), 8, 80, seed=5, start_images=start)
    assert list(rest) == whole[start // 8 :]
    assert len(rest) == len(whole) == 10


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_each_batch(world_size: int) -> None:
    whole = list(EndlessBatchSampler(np.arange(13), 8, 80, seed=5))
    shares = [
        list(EndlessBatchSampler(np.arange(13), 8, 80, seed=5, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    for number, batch in enumerate(whole):
        assert sorted(draw for share in shares for draw in share[number]) == sorted(batch)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size .*\b2\b.*\b9\b"):
        EndlessBatchSampler(np.arange(13), 9, 80, seed=5, world_size=2)


@pytest.mark.parametrize(("pictures", "world_size"), [(10, 1), (10, 2), (11, 2), (3, 4)])
def test_evaluation_shows_every_picture_and_gives_ranks_equally_many(pictures: int, world_size: int) -> None:
    samplers = [EvaluationSampler(np.arange(pictures), rank, world_size) for rank in range(world_size)]
    assert len({len(sampler) for sampler in samplers}) == 1
    assert {index for sampler in samplers for _, index in sampler} == set(range(pictures))
