"""Augmentation of training pictures: the one place that knows albumentations."""

import functools
import math
import random
from collections.abc import Sequence
from typing import Annotated, Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

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


Degrees = Annotated[float, Field(ge=0, le=60)]
Plane = NDArray[np.float32]


class HeadTurn(A.ImageOnlyTransform):  # type: ignore[misc]
    """Turns the head to a side and up or down, as far as one picture allows.

    The face is taken for an ellipsoid with a nose, centred in the picture: a pixel of the new picture is looked up
    where the surface that is seen there was before the turn. What was hidden cannot appear, so the far cheek is drawn
    out. Rendering a generic head in new poses to train on is the idea of Masi et al., "Do We Really Need to Collect
    Millions of Faces for Effective Face Recognition?", 2016, section 3; they use meshes.

    Args:
        yaw_deg: largest turn to either side.
        pitch_deg: largest turn up or down.
        p: share of the pictures that are turned.
    """

    def __init__(
        self, yaw_deg: Degrees = 30.0, pitch_deg: Degrees = 15.0, p: Annotated[float, Field(ge=0, le=1)] = 1.0
    ) -> None:
        super().__init__(p=p)
        self.yaw_deg, self.pitch_deg = yaw_deg, pitch_deg

    def get_params(self) -> dict[str, Any]:
        """Draw the turn, in radians."""
        return {
            "yaw_rad": math.radians(self.py_random.uniform(-self.yaw_deg, self.yaw_deg)),
            "pitch_rad": math.radians(self.py_random.uniform(-self.pitch_deg, self.pitch_deg)),
        }

    def apply(self, img: NDArray[np.uint8], yaw_rad: float, pitch_rad: float, **params: Any) -> NDArray[np.uint8]:
        """(H, W, C) uint8 -> the same; a positive yaw moves the nose to the right, a positive pitch moves it down."""
        height, width = img.shape[:2]
        x, y, roundness, depth = _head(height, width)
        source_x = x * (1 - (1 - math.cos(yaw_rad)) * roundness) - math.sin(yaw_rad) * depth
        source_y = y * (1 - (1 - math.cos(pitch_rad)) * roundness) - math.sin(pitch_rad) * depth * _WIDTH_BY_HEIGHT
        turned = cv2.remap(
            img,
            (source_x + 1) * ((width - 1) / 2),
            (source_y + 1) * ((height - 1) / 2),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(turned, dtype=np.uint8).reshape(img.shape)


# Of a head that fills its picture, as in AT&T's pictures of 92 x 112 whatever they were resized to.
_WIDTH_BY_HEIGHT = 92 / 112


@functools.lru_cache(maxsize=8)
def _head(height: int, width: int) -> tuple[Plane, Plane, Plane, Plane]:
    """For every pixel: x and y in [-1, 1], roundness (1 in the middle, 0 outside the head), and depth towards the
    viewer in half widths of the picture."""
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32), indexing="ij"
    )
    roundness = np.sqrt(np.clip(1 - (x / 0.85) ** 2 - ((y - 0.05) / 1.05) ** 2, 0, 1))
    nose = 0.18 * np.exp(-((x / 0.18) ** 2) - ((y - 0.1) / 0.25) ** 2)
    return x, y, roundness, (0.85 * roundness + nose).astype(np.float32)


class SideLight(A.ImageOnlyTransform):  # type: ignore[misc]
    """Light from one side: beyond a soft edge across the picture it gets darker by a factor.

    Where the edge lies and how soft it is, from a shadow's to a ramp over the whole picture, is drawn, and so is the
    side, to the left and right more than above and below. Grey levels are multiplied, as light does.

    Args:
        strength: largest share of the light that is taken from the dark side, in [0, 1); the factor is drawn evenly
            on a logarithmic scale.
        p: share of the pictures that are lit so.
    """

    def __init__(
        self, strength: Annotated[float, Field(ge=0, lt=1)] = 0.85, p: Annotated[float, Field(ge=0, le=1)] = 0.7
    ) -> None:
        super().__init__(p=p)
        self.strength = strength

    def get_params(self) -> dict[str, Any]:
        """Draw the direction the light comes from, in radians from the right, clockwise; the place of the edge and its
        width, in half widths of the picture; and the factor of the dark side."""
        return {
            "from_rad": self.py_random.uniform(0, 2 * math.pi),
            "edge": self.py_random.uniform(-0.6, 0.6),
            "softness": math.exp(self.py_random.uniform(math.log(0.08), 0)),
            "dark": math.exp(self.py_random.uniform(math.log(1 - self.strength), 0)),
        }

    def apply(
        self, img: NDArray[np.uint8], from_rad: float, edge: float, softness: float, dark: float, **params: Any
    ) -> NDArray[np.uint8]:
        """(H, W, C) uint8 -> the same, nowhere lighter."""
        height, width = img.shape[:2]
        x = np.linspace(-1, 1, width, dtype=np.float32)
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        towards = (x * math.cos(from_rad) + 0.5 * y * math.sin(from_rad) - edge) / softness
        shaded = 1 / (1 + np.exp(4 * np.clip(towards, -10, 10)))  # 0 in the light, 1 in the dark
        lit = np.rint(img * np.exp(math.log(dark) * shaded)[..., None])
        return np.asarray(lit, dtype=np.uint8)
