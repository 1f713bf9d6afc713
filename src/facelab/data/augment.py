"""Augmentation of training pictures: the one place that knows albumentations."""

import random
from collections.abc import Sequence

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from facelab.errors import ConfigError


class Augmentation:
    """A chain of albumentations transforms whose randomness depends on (seed, epoch, index) alone.

    The same picture therefore comes out whatever the number of loader workers, and another one every epoch.

    Args:
        transforms: albumentations transforms, applied in order; empty for none.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform | A.BaseCompose]) -> None:
        self._compose = A.Compose(list(transforms)) if transforms else None

    def __call__(self, image: NDArray[np.uint8], seed: int, epoch: int, index: int) -> NDArray[np.uint8]:
        """Augment one picture.

        Args:
            image: (H, W, C) uint8; left as it is.
            seed: of the run.
            epoch: how often the training set has been gone through.
            index: the picture's number in the face set.

        Returns:
            (H, W, C) uint8.
        """
        if self._compose is None:
            return image
        sequence = np.random.SeedSequence([seed, epoch, index])
        generator = np.random.default_rng(sequence)
        # Compose.set_random_seed would give all transforms equal streams: two flips at p=0.5 would always agree.
        self._compose.set_random_state(generator, random.Random(int(generator.integers(1 << 62))))
        augmented: NDArray[np.uint8] = self._compose(image=image)["image"]
        return augmented if augmented is not image else image.copy()

    def check(self, image: NDArray[np.uint8]) -> None:
        """Try the chain on one picture.

        Raises:
            ConfigError: it fails, or changes the picture's shape or type.
        """
        try:
            result = self(image, seed=0, epoch=0, index=0)
        except Exception as error:  # albumentations and OpenCV raise whatever they like
            raise ConfigError(f"augment.transforms fail on a picture of shape {image.shape}: {error}") from error
        if result.shape != image.shape or result.dtype != image.dtype:
            raise ConfigError(
                f"augment.transforms turn pictures of shape {image.shape} {image.dtype} into {result.shape} "
                f"{result.dtype}. They must keep shape and type: data.image_size sets the size, and the model "
                "itself turns uint8 into floats."
            )
