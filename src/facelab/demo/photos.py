"""Photos that are sent to the page: decoded, their faces found and cropped as the model was trained."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facelab.data.images import opened
from facelab.data.photos.align import frame_of
from facelab.data.photos.detect import Detector
from facelab.errors import DataError
from facelab.galleries.faces import FaceReader, crop_side, size_of

MOST_FACES = 24  # of a photo, the largest
_LONGEST_SIDE = 1024  # of the photo that is shown
_FRAME_SIDE, _FRAME_MARGIN = 160, 40
_FRAME_MARGINS = (_FRAME_MARGIN,) * 4

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Face:
    """One face of a photo.

    Args:
        box: left, top, width and height, as fractions of the photo; it may reach over the edges.
        crop: (S, S, C), as the model takes it.
    """

    box: tuple[float, float, float, float]
    crop: Pixels


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
    """Decodes photos and finds their faces, by the reader of `facelab identify`: crops of equal photos are equal.

    Args:
        image_shape: (C, H, W) of the model's images.
        examples: images (H, W, C) that show how the model expects faces to be cropped; none for aligned faces, as
            `facelab align` makes them.

    Attributes:
        frame: see `facelab.galleries.FaceReader`; None for aligned faces, and if no face was found in most examples.
    """

    def __init__(self, image_shape: tuple[int, int, int], examples: Sequence[Pixels]) -> None:
        channels, size = image_shape[:2]
        self._cropped = FaceReader(size, channels, aligned=True)
        self._finder: FaceReader | None = None
        self.frame = None
        try:
            self.frame = _frame(Detector(), examples, crop_side(size))
            self._finder = FaceReader(size, channels, aligned=False, frame=self.frame)
        except DataError:
            pass  # the page says so

    @property
    def finds_faces(self) -> bool:
        """Whether the face detector is installed; without it, every image is taken for a cropped face."""
        return self._finder is not None

    @property
    def least_pixels(self) -> int:
        """Side of the smallest faces that are found."""
        return self._cropped.min_size_pixels

    def read(self, encoded: bytes, is_cropped: bool) -> Photo:
        """Decode a photo and crop its faces.

        Args:
            encoded: the content of an image file.
            is_cropped: whether the whole image is one face, cropped like the training images.

        Raises:
            DataError: it is not an image, is damaged, or has too many or too few pixels; says why and what to do.
        """
        with opened(io.BytesIO(encoded), "This file") as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
        reader = self._cropped if is_cropped or self._finder is None else self._finder
        try:
            found = reader.faces(pixels)
        except DataError as error:
            raise DataError(f"This file {error}.") from error
        if reader.aligned and not found:
            raise DataError(f"This file has {size_of(pixels)} pixels, too few for a face.")
        height, width = pixels.shape[:2]
        faces = []
        for face in found[:MOST_FACES]:
            left, top, right, bottom = face.box or (0, 0, width, height)
            place = left / width, top / height, (right - left) / width, (bottom - top) / height
            faces.append(Face(place, face.pixels))
        return Photo(_reduced(pixels), faces, len(found) - len(faces))


def _reduced(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = _LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _frame(detector: Detector, examples: Sequence[Pixels], side: int) -> NDArray[np.float64] | None:
    """The frame in which the examples were cropped, in crops of this side."""
    points = []
    for example in examples:
        rgb = np.broadcast_to(example, (*example.shape[:2], 3))
        large = cv2.resize(np.ascontiguousarray(rgb), (_FRAME_SIDE, _FRAME_SIDE))
        # A face that fills its image is found better with something around it.
        found = detector(np.asarray(cv2.copyMakeBorder(large, *_FRAME_MARGINS, cv2.BORDER_REPLICATE), np.uint8))
        if len(found):
            points.append((found.points[0] - _FRAME_MARGIN) * side / _FRAME_SIDE)
    return frame_of(np.stack(points), side) if len(points) > len(examples) / 2 else None
