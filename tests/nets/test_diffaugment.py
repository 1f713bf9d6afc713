"""Differentiable augmentation by hand, one change at a time."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facelab.nets.diffaugment import DiffAugment


def only(**arguments: float) -> DiffAugment:
    """All that is not named is off."""
    off = {"flip": 0.0, "brightness": 0.0, "contrast": 0.0, "translation": 0.0, "cutout": 0.0}
    return DiffAugment(**{**off, **arguments})


def draws(
    flip: float = 0.5,
    brightness: float = 0.5,
    contrast: float = 0.5,
    x: float = 0.5,
    y: float = 0.5,
    cut_x: float = 0.5,
    cut_y: float = 0.5,
) -> Tensor:
    """Of one picture."""
    return torch.tensor([[flip, brightness, contrast, x, y, cut_x, cut_y]])


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_seven_numbers_are_drawn_for_a_picture() -> None:
    assert draws().shape == (1, DiffAugment.DRAWS)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 3, 7, 12)])
@pytest.mark.parametrize("translation", [0.125, 0.5, 0.9])
def test_the_middle_of_every_range_is_no_change(translation: float, shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    assert torch.allclose(only(translation=translation)(images, draws()), images, atol=1e-6)
    augment = only(brightness=0.7, contrast=0.9, translation=translation)
    assert torch.allclose(augment(images, draws()), images, atol=1e-6)


def test_an_augmentation_that_is_off_is_no_change_whatever_is_drawn() -> None:
    images = pictures(5, 3, 6, 8)
    for drawn in (torch.zeros(5, 7), torch.full((5, 7), 0.999), torch.rand(5, 7)):
        assert torch.allclose(only()(images, drawn), images, atol=1e-6)


@pytest.mark.parametrize(
    ("flip", "draw", "mirrored"),
    [(0.3, 0.29, True), (0.3, 0.31, False), (0.0, 0.0, False), (1.0, 0.999, True)],
)
def test_the_share_below_flip_is_mirrored(flip: float, draw: float, mirrored: bool) -> None:
    images = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).view(1, 1, 2, 3)
    expected = [[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]] if mirrored else images[0, 0].tolist()
    assert torch.allclose(only(flip=flip)(images, draws(flip=draw))[0, 0], torch.tensor(expected))


@pytest.mark.parametrize(("draw", "shift"), [(0.0, -0.4), (0.25, -0.2), (0.75, 0.2)])
def test_brightness_is_added(draw: float, shift: float) -> None:
    images = pictures(1, 3, 4, 5)
    assert torch.allclose(only(brightness=0.4)(images, draws(brightness=draw)), images + shift, atol=1e-6)


@pytest.mark.parametrize(("draw", "factor"), [(0.0, 0.6), (0.25, 0.8), (0.75, 1.2)])
def test_contrast_stretches_around_the_mean(draw: float, factor: float) -> None:
    images = torch.tensor([0.0, 0.2, 0.4, 0.8, -0.4, 0.2]).view(1, 3, 1, 2)  # the mean of all channels is 0.2
    found = only(contrast=0.4)(images, draws(contrast=draw))
    expected = [0.2 + factor * deviation for deviation in (-0.2, 0.0, 0.2, 0.6, -0.6, 0.0)]
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_contrast_all_taken_leaves_the_mean() -> None:
    images = pictures(1, 3, 4, 5)
    found = only(contrast=1.0)(images, draws(contrast=0.0))
    assert torch.allclose(found, images.mean().expand_as(images), atol=1e-6)


def moved(images: Tensor, right: int, down: int) -> Tensor:
    """By whole pixels; zeros come in."""
    height, width = images.shape[2:]
    placed = torch.zeros_like(images)
    for row, column in itertools.product(range(height), range(width)):
        if 0 <= row - down < height and 0 <= column - right < width:
            placed[:, :, row, column] = images[:, :, row - down, column - right]
    return placed


def test_every_shift_by_whole_pixels_is_as_likely() -> None:
    images, augment = pictures(1, 2, 4, 8), only(translation=0.25)  # 1 pixel up or down, 2 left or right
    found = []
    for x, y in itertools.product(range(5), range(3)):
        # The beginning and the end of one fifth of the draws, one third, move alike.
        first = augment(images, draws(x=(x + 0.01) / 5, y=(y + 0.01) / 3))
        assert torch.equal(first, augment(images, draws(x=(x + 0.99) / 5, y=(y + 0.99) / 3)))
        found += [
            shift
            for shift in itertools.product((-2, -1, 0, 1, 2), (-1, 0, 1))
            if torch.allclose(first, moved(images, *shift), atol=1e-6)
        ]
    assert sorted(found) == sorted(itertools.product((-2, -1, 0, 1, 2), (-1, 0, 1)))


def zeros(found: Tensor) -> list[list[int]]:
    return (found == 0).nonzero().tolist()


@pytest.mark.parametrize(
    ("cut_x", "cut_y", "columns", "rows"),
    [
        pytest.param(0.5, 0.5, range(4, 12), range(2, 6), id="in the middle"),
        pytest.param(0.25, 0.7, range(0, 8), range(3, 7), id="inside"),
        pytest.param(0.0, 0.0, range(0, 4), range(0, 2), id="half over two edges"),
        pytest.param(0.99, 0.5, range(11, 16), range(2, 6), id="over the right edge"),
    ],
)
def test_cutout_is_a_square_around_its_middle(cut_x: float, cut_y: float, columns: range, rows: range) -> None:
    images = torch.ones(1, 2, 8, 16)
    found = only(cutout=0.5)(images, draws(cut_x=cut_x, cut_y=cut_y))
    assert zeros(found) == [[0, channel, row, column] for channel in range(2) for row in rows for column in columns]
    assert found.sum() == 2 * (8 * 16 - len(rows) * len(columns))


@pytest.mark.parametrize(("side", "cutout", "cut"), [(9, 1 / 3, 3), (10, 0.2, 2), (64, 0.25, 16), (64, 0.5, 32)])
def test_cutout_has_the_side_asked_for(side: int, cutout: float, cut: int) -> None:
    assert len(zeros(only(cutout=cutout)(torch.ones(1, 1, side, side), draws()))) == cut**2


def test_what_comes_in_and_what_is_cut_out_is_mid_grey_whatever_the_light() -> None:
    augment = only(brightness=0.5, contrast=0.5, translation=0.25, cutout=0.5)
    found = augment(torch.full((1, 1, 8, 8), 0.3), draws(brightness=0.9, contrast=0.9, x=0.01))
    # 2 columns come in and 4 x 4 pixels are cut out of the others.
    assert sorted(set(found.flatten().tolist())) == pytest.approx([0, 0.3 + 0.4])
    assert len(zeros(found)) == 2 * 8 + 16


def test_a_picture_does_not_depend_on_its_batch() -> None:
    augment, images = DiffAugment(), pictures(16, 3, 8, 8)
    drawn = torch.rand(16, 7, generator=torch.Generator().manual_seed(1))
    found = augment(images, drawn)
    alone = torch.cat([augment(images[i : i + 1], drawn[i : i + 1]) for i in range(16)])
    assert torch.allclose(found, alone, atol=1e-6)
    assert all(not torch.allclose(before, after, atol=0.05) for before, after in zip(images, found, strict=True))
    with_others = augment(torch.cat([images[:3], pictures(2, 3, 8, 8, seed=2)]), drawn[:5])
    assert torch.allclose(with_others[:3], found[:3], atol=1e-6)


def test_only_the_draws_decide() -> None:
    augment, images, drawn = DiffAugment(), pictures(4, 1, 8, 8), torch.rand(4, 7)
    torch.manual_seed(0)
    first, untouched = augment(images, drawn), torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), untouched)
    assert torch.equal(augment(images, drawn), first)


def test_the_pictures_given_are_left_alone() -> None:
    images = pictures(4, 1, 8, 8)
    before = images.clone()
    DiffAugment(flip=1.0)(images, torch.rand(4, 7))
    assert torch.equal(images, before)


def test_gradients_agree_with_finite_differences() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randn(3, 2, 4, 6, generator=random, dtype=torch.float64, requires_grad=True)
    drawn = torch.rand(3, 7, generator=random)
    drawn[:, 0] = torch.tensor([0.1, 0.9, 0.2])
    augment = DiffAugment(translation=0.25, cutout=0.4)
    assert torch.autograd.gradcheck(lambda pictures: augment(pictures, drawn), images)
    (gradient,) = torch.autograd.grad(augment(images, drawn).square().sum(), images)
    assert gradient.any(dim=3).any(dim=2).all()


def test_gradients_come_only_from_what_is_seen() -> None:
    images = torch.ones(1, 1, 4, 4, requires_grad=True)
    augment = only(flip=1.0, translation=0.25, cutout=0.5)
    # Mirrored, moved a column, and the four pixels of the middle cut out.
    found = augment(images, draws(x=0.0))
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert gradient.sum() == found.sum() == 16 - 4 - 4
    assert set(gradient.flatten().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_the_largest_draws_stay_inside(dtype: torch.dtype) -> None:
    """Draws keep below 1 in their own precision, whatever that of the pictures."""
    images, largest = torch.ones(1, 1, 64, 48, dtype=dtype), torch.full((1, 7), 1 - 2**-24)
    found = only(translation=0.125)(images, largest)
    padded = F.pad(torch.ones(1, 1, 56, 42, dtype=dtype), (0, 6, 0, 8))
    assert torch.equal(found, padded)
    # A square of 32 x 24 whose middle is the last pixel: its first half and the middle are inside.
    cut = only(cutout=0.5)(images, largest)
    assert len(zeros(cut)) == 17 * 13


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": -0.1},
        {"flip": 1.1},
        {"flip": float("nan")},
        {"brightness": -0.1},
        {"contrast": -0.1},
        {"contrast": 1.1},
        {"translation": -0.1},
        {"translation": 1.0},
        {"cutout": -0.1},
        {"cutout": 1.0},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DiffAugment(**wrong)


def test_the_ends_of_the_ranges_are_allowed() -> None:
    images = pictures(2, 1, 8, 8)
    augment = DiffAugment(flip=1.0, brightness=2.0, contrast=1.0, translation=0.99, cutout=0.99)
    assert augment(images, torch.full((2, 7), 0.999)).shape == images.shape
