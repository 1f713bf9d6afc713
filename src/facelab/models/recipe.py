"""How long and with which schedule a model trains. Everything is counted in images seen, never in steps or epochs."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

Positive = Annotated[int, Field(ge=1)]


class Schedule(ABC):
    """A factor on the learning rates, as a function of images seen."""

    @abstractmethod
    def factor(self, images_seen: int, total_images: int) -> float:
        """The factor for the next step, in [0, 1].

        Args:
            images_seen: before the step.
            total_images: length of the run.
        """


class Constant(Schedule):
    """The learning rate as it is."""

    def factor(self, images_seen: int, total_images: int) -> float:
        """1, always."""
        return 1.0


class Cosine(Schedule):
    """A linear warm-up, then half a cosine down to 0 (Loshchilov and Hutter, "SGDR", 2017, equation 5, one period).

    Args:
        warmup_share: share of the run spent warming up, in [0, 1).
    """

    def __init__(self, warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.05) -> None:
        self.warmup_share = warmup_share

    def factor(self, images_seen: int, total_images: int) -> float:
        """Rises from near 0 to 1, then falls to 0 at the end."""
        progress = min(images_seen / total_images, 1.0)
        if progress < self.warmup_share:
            return max(progress / self.warmup_share, 1e-3)
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup_share) / (1 - self.warmup_share)))


@dataclass(frozen=True)
class Length:
    """How long to train, by the number of training pictures.

    Args:
        images: at least so many images.
        epochs: and at least so many passes over the training set, which decides where there are many pictures.
    """

    images: Positive
    epochs: Positive

    def total(self, training_images: int) -> int:
        """In images seen."""
        return max(self.images, self.epochs * training_images)


@dataclass(frozen=True)
class Recipe:
    """Batch size, length, schedule and averaging of a training run.

    Args:
        batch_size: images a step, over all processes together.
        schedule: factor on the learning rate.
        max_images: the run ends after so many images; null for no such limit.
        max_epochs: the run ends after so many passes over the training set; null for no such limit. Where both limits
            are given, the first reached ends the run.
        length: the length where neither limit is given.
        ema_half_life_images: half-life of the weights' exponential moving average, which is what is evaluated and kept;
            null for no averaging.

    Raises:
        ValueError: none of `max_images`, `max_epochs` and `length` is given.
    """

    batch_size: Annotated[int, Field(ge=1, le=65536)]
    schedule: Schedule
    max_images: Positive | None = None
    max_epochs: Positive | None = None
    ema_half_life_images: Positive | None = None
    length: Length | None = None

    def __post_init__(self) -> None:
        if self.max_images is None and self.max_epochs is None and self.length is None:
            raise ValueError("max_images, max_epochs and length are all null; give at least one")

    def total_images(self, training_images: int) -> int:
        """Length of a run on a training set of so many pictures, in images seen, rounded up to full batches."""
        given = [self.max_images, self.max_epochs and self.max_epochs * training_images]
        limits = [limit for limit in given if limit]
        total = self.length.total(training_images) if self.length and not limits else min(limits)
        return -(-total // self.batch_size) * self.batch_size

    def length_as_words(self, training_images: int) -> str:
        """What set the length of a run on so many pictures, such as `64 passes over 790 pictures`."""
        if self.max_images or self.max_epochs or self.length is None:
            return "as given"
        if self.length.epochs * training_images > self.length.images:
            return f"{self.length.epochs} passes over {training_images:,} pictures"
        return f"the least, for {training_images:,} pictures"
