"""Turning a head."""

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from facelab.data.augment import HeadTurn
from facelab.data.faces import FaceSet


def _turn(image: NDArray[np.uint8], yaw_rad: float, pitch_rad: float = 0.0) -> NDArray[np.uint8]:
    return HeadTurn().apply(image, yaw_rad=yaw_rad, pitch_rad=pitch_rad)


def _centre(image: NDArray[np.uint8]) -> tuple[float, float]:
    """(x, y) of what is bright."""
    weights = image[..., 0].astype(float)
    rows, columns = np.indices(weights.shape)
    return float((weights * columns).sum() / weights.sum()), float((weights * rows).sum() / weights.sum())


def test_no_turn_changes_nothing(orl: FaceSet) -> None:
    image = orl.pixels[0]
    assert np.abs(_turn(image, 0.0).astype(int) - image).max() <= 1  # rounding of the grid


def test_the_nose_moves_by_the_sine_of_the_turn_times_its_depth() -> None:
    image = np.zeros((101, 101, 3), np.uint8)
    image[49:54, 48:53] = 255  # the tip of the nose: depth 0.85 + 0.18 half widths
    for yaw_rad in (0.2, -0.3):
        x, _ = _centre(_turn(image, yaw_rad))
        # The source of a pixel near the tip lies sin(yaw) * depth to its left; depth falls off away from the tip.
        assert x - 50 == pytest.approx(np.sin(yaw_rad) * 1.03 * 50, rel=0.25)
    _, y = _centre(_turn(image, 0.0, 0.2))
    assert y - 51 == pytest.approx(np.sin(0.2) * 1.03 * 92 / 112 * 50, rel=0.25)


def test_turning_left_is_turning_right_mirrored(orl: FaceSet) -> None:
    image = orl.pixels[0]
    left = _turn(image, 0.4, 0.1)
    right = _turn(np.ascontiguousarray(image[:, ::-1]), -0.4, 0.1)[:, ::-1]
    assert np.abs(left.astype(int) - right).max() <= 1


def test_colour_channels_move_together(orl: FaceSet) -> None:
    grey = orl.pixels[0]
    assert np.array_equal(_turn(np.repeat(grey, 3, axis=2), 0.3), np.repeat(_turn(grey, 0.3), 3, axis=2))


def test_turns_stay_within_their_limits() -> None:
    transform = HeadTurn(yaw_deg=10, pitch_deg=5)
    transform.set_random_state(np.random.default_rng(0), random.Random(0))
    drawn = [transform.get_params() for _ in range(500)]
    yaws = np.degrees([params["yaw_rad"] for params in drawn])
    pitches = np.degrees([params["pitch_rad"] for params in drawn])
    assert 9 < yaws.max() <= 10
    assert -10 <= yaws.min() < -9
    assert 4.5 < pitches.max() <= 5
