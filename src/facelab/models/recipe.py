"""Batch size, length and learning rate schedule of training, all counted in images seen instead of steps or epochs."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Positive = Annotated[int, Field(ge=1)]


class Schedule(ABC):
    """A learning rate schedule: a factor on the learning rates as a function of images seen."""

    @abstractmethod
    def factor(self, images_seen: int, total_images: int) -> float:
        """The factor for the next step, in [0, 1].

        Args:
            images_seen: number of images before the step.
            total_images: length of the run in images seen.
        """


class Constant(Schedule):
    """A constant learning rate."""

    def factor(self, images_seen: int, total_images: int) -> float:
        """Always 1."""
        return 1.0


class Cosine(Schedule):
    """A linear warm-up, then half a cosine down to 0 (Loshchilov and Hutter, "SGDR", 2017, equation 5, one period).

    Args:
        warmup_share: share of the run spent warming up, in [0, 1).
    """

    def __init__(self, warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.05) -> None:
        self.warmup_share = warmup_share

    def factor(self, images_seen: int, total_images: int) -> float:
        """Rises from near 0 to 1 in the warm-up, then falls to 0 at the end."""
        progress = min(images_seen / total_images, 1.0)
        if progress < self.warmup_share:
            return max(progress / self.warmup_share, 1e-3)
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup_share) / (1 - self.warmup_share)))


@dataclass(frozen=True)
class Length:
    """Length of training as a function of the number of training images: the longer of two limits.

    Args:
        images: minimum number of images seen.
        epochs: minimum number of passes over the training set; the longer limit for large training sets.
    """

    images: Positive
    epochs: Positive

    def total(self, training_images: int) -> int:
        """Length in images seen for a training set of this size."""
        return max(self.images, self.epochs * training_images)


@dataclass(frozen=True)
class Recipe:
    """Batch size, length, schedule and averaging of a training run.

    Args:
        batch_size: images per step, over all processes together.
        schedule: factor on the learning rate.
        max_images: end the run after this many images; null for no such limit.
        max_epochs: end the run after this many passes over the training set; null for no such limit. If both limits
            are given, the first reached ends the run.
        length: the length if neither limit is given.
        sampling: `images` draws every image equally often; `balanced` every class equally often, whatever its number
            of images; `pk` fills each batch with P classes of K images, for losses over pairs.
        images_per_class: K of `pk`; P is `batch_size` / K.
        ema_half_life_images: half-life, in images, of the weights' exponential moving average, which is evaluated and
            saved; null for no averaging.

    Raises:
        ValueError: none of `max_images`, `max_epochs` and `length` is given, or `images_per_class` is given without
            `sampling=pk`, or `pk` without it.
    """

    batch_size: Annotated[int, Field(ge=1, le=65536)]
    schedule: Schedule
    max_images: Positive | None = None
    max_epochs: Positive | None = None
    ema_half_life_images: Positive | None = None
    length: Length | None = None
    sampling: Literal["images", "balanced", "pk"] = "images"
    images_per_class: Annotated[int, Field(ge=2)] | None = None

    def __post_init__(self) -> None:
        if self.max_images is None and self.max_epochs is None and self.length is None:
            raise ValueError("max_images, max_epochs and length are all null; give at least one")
        if self.sampling == "pk" and self.images_per_class is None:
            raise ValueError("sampling=pk needs the number of images of each class in a batch; give images_per_class=4")
        if self.sampling != "pk" and self.images_per_class is not None:
            raise ValueError("images_per_class belongs to sampling=pk; set both, or images_per_class=null")

    def total_images(self, training_images: int) -> int:
        """Length of a run in images seen, for a training set of this size, rounded up to full batches."""
        given = [self.max_images, self.max_epochs and self.max_epochs * training_images]
        limits = [limit for limit in given if limit]
        total = self.length.total(training_images) if self.length and not limits else min(limits)
        return -(-total // self.batch_size) * self.batch_size

    def length_as_words(self, training_images: int) -> str:
        """The limit that sets the length of a run, in words, such as `64 passes over 790 training images`."""
        if self.max_images or self.max_epochs or self.length is None:
            return "as configured"
        if self.length.epochs * training_images > self.length.images:
            return f"{self.length.epochs} passes over {training_images:,} training images"
        return f"the minimum, for {training_images:,} training images"
