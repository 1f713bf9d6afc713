"""Order and augmentation are functions of (seed, images seen), whatever the number of workers or ranks."""

import multiprocessing
from collections import Counter
from collections.abc import Callable

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
from facelab.data.order import PK, Balanced, ByImage, Order, WithShare
from facelab.data.sampler import EndlessBatchSampler, EvaluationSampler
from facelab.data.splits.base import split
from facelab.data.splits.rules import FewShot


def _augmentation(name: str) -> Augmentation:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = plain(compose("train", [f"augment={name}"]))
    augmentation = build({"augment": config["augment"]})["augment"]
    assert isinstance(augmentation, Augmentation)
    return augmentation


def _images(orl: FaceSet, workers: int, seed: int = 1, name: str = "strong", balanced: bool = False) -> torch.Tensor:
    splits = split(orl, FewShot(train_per_identity=1))
    labels = orl.labels[splits.train] // 30  # people s1 to s30, and the ten others
    order = Balanced(splits.train, labels, 24, seed) if balanced else ByImage(splits.train, 24, seed)
    module = FaceDataModule(orl, splits, _augmentation(name), order, 24 * 5, seed, workers)
    return torch.cat([batch["image"] for batch in module.train_dataloader()])


@pytest.mark.parametrize("name", ["light", "standard", "strong"])
def test_the_same_pictures_whatever_the_number_of_workers(orl: FaceSet, name: str) -> None:
    alone, three = _images(orl, 0, name=name), _images(orl, 3, name=name)
    assert torch.equal(alone, three)
    assert torch.equal(_images(orl, 0, name=name, balanced=True), _images(orl, 3, name=name, balanced=True))


def test_a_pass_that_ends_early_leaves_no_loader_process(orl: FaceSet) -> None:
    splits = split(orl, FewShot(train_per_identity=1))
    module = FaceDataModule(orl, splits, _augmentation("light"), ByImage(splits.train, 24, 1), 2400, 1, workers=2)
    module.close()  # before anything was loaded
    begun = iter(module.train_dataloader())
    next(begun)
    assert len(multiprocessing.active_children()) == 2
    module.close()  # although `begun` is still referred to
    assert not multiprocessing.active_children()
    assert not list(begun)


def test_a_process_ends_although_a_pass_did_not(orl: FaceSet) -> None:
    begun = []  # so that nothing is collected

    def begin() -> None:
        splits = split(orl, FewShot(train_per_identity=1))
        module = FaceDataModule(orl, splits, _augmentation("none"), ByImage(splits.train, 24, 1), 2400, 1, workers=2)
        begun.append(iter(module.train_dataloader()))
        next(begun[0])

    process = multiprocessing.get_context("fork").Process(target=begin)
    process.start()
    process.join(timeout=60)
    ended = process.exitcode
    process.kill()
    assert ended == 0


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
    order = ByImage(splits.train, 24, seed=1)
    module = FaceDataModule(orl, splits, _augmentation("strong"), order, 48, 1, workers=0, with_originals=True)
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


def test_a_transform_is_left_out_by_the_name_of_its_class(orl: FaceSet) -> None:
    import albumentations

    flip, invert = albumentations.HorizontalFlip(p=1.0), albumentations.InvertImg(p=1.0)
    image = orl.pixels[0]
    found = Augmentation([flip, invert], leave_out=["InvertImg"])(image, seed=0, epoch=0, index=0)
    assert np.array_equal(found, image[:, ::-1])
    assert Augmentation([flip], leave_out=["HorizontalFlip"]).transforms == ()
    with pytest.raises(ValueError, match="no 'Invert' to leave out: transforms are HorizontalFlip, InvertImg"):
        Augmentation([flip, invert], leave_out=["Invert"])


def test_every_epoch_shows_every_picture_once() -> None:
    indices = np.arange(100, 117)
    draws = [draw for batch in EndlessBatchSampler(ByImage(indices, 8, seed=3), 17 * 8) for draw in batch]
    for epoch in range(8):
        assert sorted(index for e, index in draws if e == epoch) == list(indices)
    orders = {tuple(index for e, index in draws if e == epoch) for epoch in range(8)}
    assert len(orders) == 8


def test_a_batch_may_be_larger_than_the_set() -> None:
    batches = list(EndlessBatchSampler(ByImage(np.arange(3), 8, seed=0), 16))
    assert [len(batch) for batch in batches] == [8, 8]
    assert [epoch for batch in batches for epoch, _ in batch] == [p // 3 for p in range(16)]


def test_images_come_in_the_order_of_a_permutation_an_epoch() -> None:
    expected = [(epoch, index) for epoch in range(8) for index in np.random.default_rng([5, epoch]).permutation(13)]
    batches = list(EndlessBatchSampler(ByImage(np.arange(13), 8, seed=5), 80))
    assert [draw for batch in batches for draw in batch] == expected[:80]


INDICES, LABELS = np.arange(100, 113), np.array([7, 0, 0, 2, 0, 0, 2, 0, 0, 2, 0, 0, 0])
ORDERS = {
    "images": lambda: ByImage(INDICES, 8, seed=5),
    "share": lambda: WithShare(INDICES[:4], INDICES[4:], 0.3, 8, seed=5),
    "balanced": lambda: Balanced(INDICES, LABELS, 8, seed=5),
    "pk": lambda: PK(INDICES, LABELS, 8, seed=5, images_per_class=4),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("start", [0, 8, 40])
def test_a_run_goes_on_where_it_stopped(start: int, order: Callable[[], Order]) -> None:
    whole = list(EndlessBatchSampler(order(), 80))
    rest = EndlessBatchSampler(order(), 80, start_images=start)
    assert list(rest) == whole[start // 8 :]
    assert len(rest) == len(whole) == 10


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_each_batch(world_size: int, order: Callable[[], Order]) -> None:
    whole = list(EndlessBatchSampler(order(), 80))
    shares = [list(EndlessBatchSampler(order(), 80, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for number, batch in enumerate(whole):
        assert sorted(draw for share in shares for draw in share[number]) == sorted(batch)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_no_draw_comes_twice(order: Callable[[], Order]) -> None:
    draws = [draw for batch in EndlessBatchSampler(order(), 800) for draw in batch]
    assert len(set(draws)) == len(draws) == 800  # each has an augmentation of its own


@pytest.mark.parametrize("share", [0.03, 0.3, 0.5, 0.95])
def test_a_share_of_the_draws_whatever_the_numbers_of_images(share: float) -> None:
    batches = list(EndlessBatchSampler(WithShare(np.arange(3), np.arange(10, 60), share, 8, seed=5), 800))
    seen = 0
    for number, batch in enumerate(batches):
        seen += sum(index >= 10 for _, index in batch)
        assert abs(seen - share * 8 * (number + 1)) < 1
    for kind in (range(3), range(10, 60)):
        draws = [draw for batch in batches for draw in batch if draw[1] in kind]
        for place in range(0, len(draws) - len(kind) + 1, len(kind)):
            assert sorted(index for _, index in draws[place : place + len(kind)]) == list(kind)


def test_balanced_shows_classes_equally_often_and_their_images_in_turn() -> None:
    draws = [draw for batch in EndlessBatchSampler(Balanced(INDICES, LABELS, 8, seed=5), 3 * 9 * 8) for draw in batch]
    label_of = dict(zip(INDICES.tolist(), LABELS.tolist(), strict=True))
    shown = [label_of[index] for _, index in draws]
    for round_ in range(72):
        assert sorted(shown[3 * round_ : 3 * round_ + 3]) == [0, 2, 7]
    for label in (0, 2, 7):
        members = INDICES[label == LABELS]
        of_class = [draw for draw in draws if label_of[draw[1]] == label]
        for place in range(0, 72, len(members)):  # 9, 3 and 1 images
            assert sorted(index for _, index in of_class[place : place + len(members)]) == list(members)
            assert {epoch for epoch, _ in of_class[place : place + len(members)]} == {place // len(members)}
    assert len({tuple(shown[start : start + 3]) for start in range(0, 216, 3)}) == 6  # classes are shuffled too


def test_pk_fills_batches_with_classes_whose_images_differ_where_there_are_enough() -> None:
    labels = np.repeat(np.arange(5), [9, 8, 4, 3, 1])  # 3 x 4 images of 5 classes: two classes wait each round
    label_of = labels.tolist()
    batches = list(EndlessBatchSampler(PK(np.arange(25), labels, 12, seed=5, images_per_class=4), 300 * 12))
    times: Counter[int] = Counter()
    for batch in batches:
        counts = Counter(label_of[index] for _, index in batch)
        assert list(counts.values()) == [4, 4, 4]
        times.update(counts.keys())
        for label in counts:
            of_class = [index for _, index in batch if label_of[index] == label]
            assert len(set(of_class)) == min(4, labels.tolist().count(label))
    assert all(150 < count < 210 for count in times.values())  # 180 each, on average
    shown = Counter(index for batch in batches for _, index in batch)
    for label in range(5):
        of_class = [shown[index] for index in range(25) if label_of[index] == label]
        assert max(of_class) < 1.3 * min(of_class)


def test_pk_gives_processes_whole_classes() -> None:
    order = PK(INDICES, LABELS, 8, seed=5, images_per_class=4)
    label_of = dict(zip(INDICES.tolist(), LABELS.tolist(), strict=True))
    for rank in range(2):
        for share in EndlessBatchSampler(order, 80, rank=rank, world_size=2):
            assert len(share) == 4
            assert len({label_of[index] for _, index in share}) == 1


@pytest.mark.parametrize(
    ("batch_size", "count", "says"), [(8, 3, "K=3"), (8, 1, "K=1"), (8, 8, "K=8"), (8, 2, "has 3")]
)
def test_pk_that_does_not_fit_is_refused(batch_size: int, count: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PK(INDICES, LABELS, batch_size, seed=5, images_per_class=count)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size .*\b2\b.*\b9\b"):
        EndlessBatchSampler(ByImage(np.arange(13), 9, seed=5), 80, world_size=2)


@pytest.mark.parametrize(("pictures", "world_size"), [(10, 1), (10, 2), (11, 2), (3, 4)])
def test_evaluation_shows_every_picture_and_gives_ranks_equally_many(pictures: int, world_size: int) -> None:
    samplers = [EvaluationSampler(np.arange(pictures), rank, world_size) for rank in range(world_size)]
    assert len({len(sampler) for sampler in samplers}) == 1
    assert {index for sampler in samplers for _, index in sampler} == set(range(pictures))
