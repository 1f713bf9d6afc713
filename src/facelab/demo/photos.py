"""Photos that are sent to the page: decoded, their faces found and cropped as the model was trained."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelab.data.images import as_pixels, opened
from facelab.data.photos.align import align, frame_of
from facelab.data.photos.detect import Detector
from facelab.errors import DataError

SMALLEST_FACE_PIXELS = 40
MOST_FACES = 24  # of a photo, the largest
_LONGEST_SIDE = 1024  # of the photo that is searched for faces, and shown
_FOUND_FROM_PIXELS = 20  # in that photo: smaller than what is used, so that the page can say what is too small
_FRAME_SIDE, _FRAME_MARGIN = 160, 40
_FRAME_MARGINS = (_FRAME_MARGIN,) * 4

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Face:
    """One face of a photo.

    Args:
        box: left, top, width and height, as fractions of the photo; it may reach over the edges.
        crop: (S, S, C), as the model takes it.
        side_pixels: longer side of the box.
    """

    box: tuple[float, float, float, float]
    crop: Pixels
    side_pixels: int

    @property
    def problem(self) -> str:
        """Why the face is not used; empty if it is."""
        if self.side_pixels >= SMALLEST_FACE_PIXELS:
            return ""
        return (
            f"This face is too small: it has {self.side_pixels} pixels, and {SMALLEST_FACE_PIXELS} are needed. Use a "
            "photo of higher resolution."
        )


@dataclass(frozen=True)
class Photo:
    """A decoded photo and its faces.

    Args:
        shown: (H, W, 3), upright, reduced to at most 1024 pixels a side.
        faces: the largest first.
        left_out: number of smaller faces that were found beyond `MOST_FACES`.
    """

    shown: Pixels
    faces: Sequence[Face]
    left_out: int = 0


class PhotoReader:
    """Decodes photos and finds their faces. An object serves one thread at a time.

    Args:
        image_shape: (C, H, W) of the model's images.
        examples: images (H, W, C) that show how the model expects faces to be cropped; none for aligned faces, as
            `facelab align` makes them.

    Attributes:
        frame: see `facelab.data.photos.align.frame_of`; None for aligned faces, and if no face was found in most
            examples.
    """

    def __init__(self, image_shape: tuple[int, int, int], examples: Sequence[Pixels]) -> None:
        self._channels, self._size = image_shape[0], image_shape[1]
        try:
            self._detector: Detector | None = Detector(_FOUND_FROM_PIXELS)
        except DataError:
            self._detector = None
        self.frame = None if self._detector is None else _frame(self._detector, examples, self._size)

    @property
    def finds_faces(self) -> bool:
        """Whether the face detector is installed; without it, every image is taken for a cropped face."""
        return self._detector is not None

    def read(self, encoded: bytes, is_cropped: bool) -> Photo:
        """Decode a photo and crop its faces.

        Args:
            encoded: the content of an image file.
            is_cropped: whether the whole image is one face, cropped like the training images.

        Raises:
            DataError: it is not an image, is damaged, or has too many pixels; says why and what to do.
        """
        with opened(io.BytesIO(encoded), "This file") as image:
            if is_cropped or self._detector is None:
                crop = as_pixels(image, self._size, self._channels)
                face = Face((0, 0, 1, 1), crop, SMALLEST_FACE_PIXELS)
                return Photo(_reduced(np.asarray(image.convert("RGB"))), [face])
            pixels = np.asarray(image.convert("RGB"))
        return self._with_faces(pixels, self._detector)

    def _with_faces(self, pixels: Pixels, detector: Detector) -> Photo:
        shown = _reduced(pixels)
        found = detector(shown)
        height, width = pixels.shape[:2]
        ratio = np.array([width / shown.shape[1], height / shown.shape[0]], np.float32)
        faces = []
        for box, points in zip(found.boxes[:MOST_FACES], found.points[:MOST_FACES], strict=True):
            left, top, right, bottom = (box * np.tile(ratio, 2)).tolist()
            crop = align(pixels, points * ratio, self._size, self.frame)
            place = left / width, top / height, (right - left) / width, (bottom - top) / height
            faces.append(Face(place, self._as_trained(crop), round(max(right - left, bottom - top))))
        return Photo(shown, faces, max(len(found) - MOST_FACES, 0))

    def _as_trained(self, crop: Pixels) -> Pixels:
        return as_pixels(Image.fromarray(crop), self._size, self._channels)


def _reduced(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = _LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _frame(detector: Detector, examples: Sequence[Pixels], size: int) -> NDArray[np.float64] | None:
    """The frame in which the examples were cropped."""
    points = []
    for example in examples:
        rgb = np.broadcast_to(example, (*example.shape[:2], 3))
        large = cv2.resize(np.ascontiguousarray(rgb), (_FRAME_SIDE, _FRAME_SIDE))
        # A face that fills its image is found better with something around it.
        found = detector(np.asarray(cv2.copyMakeBorder(large, *_FRAME_MARGINS, cv2.BORDER_REPLICATE), np.uint8))
        if len(found):
            points.append((found.points[0] - _FRAME_MARGIN) * size / _FRAME_SIDE)
    return frame_of(np.stack(points), size) if len(points) > len(examples) / 2 else None
