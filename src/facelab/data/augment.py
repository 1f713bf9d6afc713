"""Augmentation of training images with albumentations, and two transforms for faces."""

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
    """Sequence of albumentations transforms, seeded by (seed, epoch, index).

    The result does not depend on the number of loader workers, and differs in every epoch.

    Args:
        transforms: albumentations transforms, applied in order; empty for no augmentation.
        leave_out: class names of those that are not applied, such as `HeadTurn`.

    Raises:
        ValueError: none of the transforms has a name of `leave_out`.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform | A.BaseCompose], leave_out: Sequence[str] = ()) -> None:
        names = [type(one).__name__ for one in transforms]
        if unknown := [name for name in leave_out if name not in names]:
            raise ValueError(
                f"leave_out has no '{unknown[0]}' to leave out: transforms are {', '.join(names) or 'none'}"
            )
        self.transforms = tuple(one for one, name in zip(transforms, names, strict=True) if name not in leave_out)
        self._compose = A.Compose(list(self.transforms)) if self.transforms else None

    def __call__(self, image: NDArray[np.uint8], seed: int, epoch: int, index: int) -> NDArray[np.uint8]:
        """Augment one image.

        Args:
            image: (H, W, C) uint8; not modified.
            seed: of the run.
            epoch: number of completed passes over the training set.
            index: of the image in the face set.

        Returns:
            (H, W, C) uint8.
        """
        if self._compose is None:
            return image
        sequence = np.random.SeedSequence([seed, epoch, index])
        generator = np.random.default_rng(sequence)
        # Compose.set_random_seed would seed all transforms alike: two flips at p=0.5 would always agree.
        self._compose.set_random_state(generator, random.Random(int(generator.integers(1 << 62))))
        augmented: NDArray[np.uint8] = self._compose(image=image)["image"]
        return augmented if augmented is not image else image.copy()

    def check(self, image: NDArray[np.uint8]) -> None:
        """Apply the transforms to one image as a test.

        Raises:
            ConfigError: a transform fails, or changes the image's shape or dtype.
        """
        try:
            result = self(image, seed=0, epoch=0, index=0)
        except Exception as error:  # albumentations and OpenCV raise exceptions of any type
            raise ConfigError(f"augment.transforms fail on an image of shape {image.shape}: {error}") from error
        if result.shape != image.shape or result.dtype != image.dtype:
            raise ConfigError(
                f"augment.transforms turn images of shape {image.shape} {image.dtype} into {result.shape} "
                f"{result.dtype}. Expected the same shape and dtype. Set the size by data.image_size; the model "
                "converts uint8 to float."
            )


Degrees = Annotated[float, Field(ge=0, le=60)]
Plane = NDArray[np.float32]


class HeadTurn(A.ImageOnlyTransform):  # type: ignore[misc]
    """Rotates the head sideways and up or down (yaw and pitch), approximated from one image.

    The face is modelled as an ellipsoid with a nose, centred in the image. Every pixel of the result is sampled from
    the position of its surface point before the rotation. Hidden surfaces cannot appear, so the far cheek is
    stretched. Masi et al., "Do We Really Need to Collect Millions of Faces for Effective Face Recognition?", 2016,
    section 3, render a generic head mesh in new poses for training.

    Args:
        yaw_deg: largest rotation to either side, in degrees.
        pitch_deg: largest rotation up or down, in degrees.
        p: share of the images that are rotated.
    """

    def __init__(
        self, yaw_deg: Degrees = 30.0, pitch_deg: Degrees = 15.0, p: Annotated[float, Field(ge=0, le=1)] = 1.0
    ) -> None:
        super().__init__(p=p)
        self.yaw_deg, self.pitch_deg = yaw_deg, pitch_deg

    def get_params(self) -> dict[str, Any]:
        """Draw yaw and pitch, in radians."""
        return {
            "yaw_rad": math.radians(self.py_random.uniform(-self.yaw_deg, self.yaw_deg)),
            "pitch_rad": math.radians(self.py_random.uniform(-self.pitch_deg, self.pitch_deg)),
        }

    def apply(self, img: NDArray[np.uint8], yaw_rad: float, pitch_rad: float, **params: Any) -> NDArray[np.uint8]:
        """(H, W, C) uint8 -> (H, W, C) uint8; positive yaw moves the nose to the right, positive pitch down."""
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


# Aspect ratio of a head that fills the image, as in the AT&T images of 92 x 112 pixels before resizing.
_WIDTH_BY_HEIGHT = 92 / 112


@functools.lru_cache(maxsize=8)
def _head(height: int, width: int) -> tuple[Plane, Plane, Plane, Plane]:
    """Head model, (height, width) each: x and y in [-1, 1], roundness (1 in the middle, 0 outside the head), and depth
    towards the viewer in half widths of the image."""
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32), indexing="ij"
    )
    roundness = np.sqrt(np.clip(1 - (x / 0.85) ** 2 - ((y - 0.05) / 1.05) ** 2, 0, 1))
    nose = 0.18 * np.exp(-((x / 0.18) ** 2) - ((y - 0.1) / 0.25) ** 2)
    return x, y, roundness, (0.85 * roundness + nose).astype(np.float32)


class SideLight(A.ImageOnlyTransform):  # type: ignore[misc]
    """Simulates light from one side: darkens the image by a factor beyond a soft edge.

    The position, direction and softness of the edge are random; the softness ranges from a shadow's edge to a ramp
    over the whole image, and horizontal light is more likely than vertical. Grey levels are multiplied, as with light.

    Args:
        strength: largest share of light removed from the dark side, in [0, 1); the factor is log-uniform.
        p: share of the images that are changed.
    """

    def __init__(
        self, strength: Annotated[float, Field(ge=0, lt=1)] = 0.85, p: Annotated[float, Field(ge=0, le=1)] = 0.7
    ) -> None:
        super().__init__(p=p)
        self.strength = strength

    def get_params(self) -> dict[str, Any]:
        """Draw the parameters of the light.

        `from_rad`: its direction, in radians clockwise from the right; `edge` and `softness`: position and width of the
        edge, in half widths of the image; `dark`: the factor of the dark side.
        """
        return {
            "from_rad": self.py_random.uniform(0, 2 * math.pi),
            "edge": self.py_random.uniform(-0.6, 0.6),
            "softness": math.exp(self.py_random.uniform(math.log(0.08), 0)),
            "dark": math.exp(self.py_random.uniform(math.log(1 - self.strength), 0)),
        }

    def apply(
        self, img: NDArray[np.uint8], from_rad: float, edge: float, softness: float, dark: float, **params: Any
    ) -> NDArray[np.uint8]:
        """(H, W, C) uint8 -> (H, W, C) uint8, no pixel brighter than before."""
        height, width = img.shape[:2]
        x = np.linspace(-1, 1, width, dtype=np.float32)
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        towards = (x * math.cos(from_rad) + 0.5 * y * math.sin(from_rad) - edge) / softness
        shaded = 1 / (1 + np.exp(4 * np.clip(towards, -10, 10)))  # 0 in the light, 1 in the dark
        lit = np.rint(img * np.exp(math.log(dark) * shaded)[..., None])
        return np.asarray(lit, dtype=np.uint8)
