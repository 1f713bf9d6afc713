"""Schedules and lengths, in images seen."""

import math
from typing import Any

import pytest

from facelab.models.recipe import Constant, Cosine, Length, Recipe


def test_cosine_by_hand() -> None:
    schedule = Cosine(warmup_share=0.1)
    assert schedule.factor(50, 1000) == pytest.approx(0.5)
    assert schedule.factor(100, 1000) == pytest.approx(1)
    assert schedule.factor(550, 1000) == pytest.approx(0.5)
    assert schedule.factor(325, 1000) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert schedule.factor(1000, 1000) == pytest.approx(0)
    assert schedule.factor(0, 1000) > 0  # a first step of nothing would be a step wasted


@pytest.mark.parametrize(
    ("max_images", "max_epochs", "expected"),
    [(1000, None, 1024), (None, 10, 2400), (1000, 10, 1024), (5000, 10, 2400), (1, None, 32)],
)
def test_the_first_limit_ends_the_run(max_images: int | None, max_epochs: int | None, expected: int) -> None:
    recipe = Recipe(batch_size=32, schedule=Constant(), max_images=max_images, max_epochs=max_epochs)
    assert recipe.total_images(240) == expected


def test_a_run_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="give at least one"):
        Recipe(batch_size=32, schedule=Constant())


def test_the_images_of_a_class_belong_to_pk() -> None:
    for wrong in ({"sampling": "pk"}, {"images_per_class": 4}, {"sampling": "balanced", "images_per_class": 4}):
        arguments: dict[str, Any] = {"batch_size": 32, "schedule": Constant(), "max_images": 32, **wrong}
        with pytest.raises(ValueError, match="images_per_class"):
            Recipe(**arguments)


@pytest.mark.parametrize(
    ("training_images", "limits", "expected", "says"),
    [
        (100, {}, 3200, ["minimum", "100"]),
        (5000, {}, 50016, ["10", "5,000"]),  # ten passes, in full batches
        (500, {"max_images": 640}, 640, ["configured"]),  # what is given counts alone
        (100, {"max_images": 6400}, 6400, ["configured"]),
        (500, {"max_epochs": 2}, 1024, ["configured"]),
    ],
)
def test_the_length_follows_the_number_of_pictures_unless_it_is_given(
    training_images: int, limits: dict[str, Any], expected: int, says: list[str]
) -> None:
    recipe = Recipe(batch_size=32, schedule=Constant(), length=Length(images=3200, epochs=10), **limits)
    assert recipe.total_images(training_images) == expected
    assert all(words in recipe.length_as_words(training_images) for words in says)
