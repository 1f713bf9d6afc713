"""Light from one side."""

import math
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from facelab.data.augment import Augmentation, SideLight
from facelab.data.faces import FaceSet

WHITE = np.full((40, 40, 1), 200, np.uint8)


def _lit(image: NDArray[np.uint8], from_rad: float, dark: float = 0.2) -> NDArray[np.uint8]:
    return SideLight().apply(image, from_rad=from_rad, edge=0.0, softness=0.3, dark=dark)


@pytest.mark.parametrize(
    ("from_rad", "bright"),
    [
        (0.0, np.s_[:, 30:]),
        (math.pi, np.s_[:, :10]),
        (math.pi / 2, np.s_[30:]),
        (-math.pi / 2, np.s_[:10]),
    ],
    ids=["right", "left", "below", "above"],
)
def test_it_is_bright_where_the_light_comes_from(from_rad: float, bright: tuple[slice, ...]) -> None:
    lit = _lit(WHITE, from_rad)
    assert lit[bright].mean() > 180
    assert _lit(WHITE, from_rad + math.pi)[bright].mean() < 80
    along = lit.mean(axis=(1, 2)) if from_rad % math.pi else lit.mean(axis=(0, 2))
    steps = np.diff(along)
    assert (steps >= 0).all() or (steps <= 0).all()  # one ramp, without a step back


def test_the_dark_side_by_hand() -> None:
    lit = SideLight().apply(np.full((5, 3, 1), 100, np.uint8), from_rad=0.0, edge=0.0, softness=1.0, dark=0.25)
    # Columns at -1, 0 and 1: dark to the power of the sigmoid of 4, 0 and -4.
    expected = [100 * 0.25 ** (1 / (1 + math.exp(-z))) for z in (4, 0, -4)]
    assert lit[0, :, 0].tolist() == [round(value) for value in expected]


def test_without_strength_nothing_changes(orl: FaceSet) -> None:
    augment = Augmentation([SideLight(strength=0.0, p=1.0)])
    for index in range(5):
        assert np.array_equal(augment(orl.pixels[index], seed=1, epoch=0, index=index), orl.pixels[index])


def test_pixels_keep_their_type_and_never_get_lighter(orl: FaceSet) -> None:
    augment = Augmentation([SideLight(p=1.0)])
    image = np.repeat(orl.pixels[3], 3, axis=2)
    lit = [augment(image, seed=1, epoch=epoch, index=3) for epoch in range(20)]
    assert all(one.dtype == np.uint8 and one.shape == image.shape and (one <= image).all() for one in lit)
    assert all(np.array_equal(one[..., 0], one[..., 2]) for one in lit)
    assert len({one.tobytes() for one in lit}) == 20
    assert np.array_equal(lit[7], augment(image, seed=1, epoch=7, index=3))
    assert not np.array_equal(lit[7], augment(image, seed=2, epoch=7, index=3))


def test_draws_stay_within_their_limits() -> None:
    transform = SideLight(strength=0.6)
    transform.set_random_state(np.random.default_rng(0), random.Random(0))
    drawn = [transform.get_params() for _ in range(500)]
    dark = np.array([params["dark"] for params in drawn])
    assert 0.4 <= dark.min() < 0.42
    assert 0.98 < dark.max() <= 1
    assert np.median(dark) == pytest.approx(0.4**0.5, abs=0.04)  # even on a logarithmic scale
