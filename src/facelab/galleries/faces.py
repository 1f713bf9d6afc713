"""Faces of images: found in photos and aligned, or aligned already; embedded in batches."""

import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelab.data.images import as_pixels, opened, read_rgb
from facelab.data.photos.align import Floats, align
from facelab.data.photos.detect import BASE_PIXELS, Detector
from facelab.errors import DataError
from facelab.galleries.recogniser import Recogniser

ALIGNED_SIZE = 112  # the default of `facelab align`
_BATCH = 256
Item = TypeVar("Item")


@dataclass(frozen=True)
class Face:
    """A face in an image.

    Args:
        pixels: (S, S, C) uint8, as the model takes it.
        picture: for people, in RGB.
        box: left, top, right, bottom in the image, in pixels; None if the image was aligned already.
    """

    pixels: NDArray[np.uint8]
    picture: Image.Image
    box: tuple[int, int, int, int] | None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the pixels, as lists of a run's images have it."""
        return hashlib.sha256(self.pixels.tobytes()).digest()


@dataclass(frozen=True)
class Reading:
    """The faces of an image, the largest first, or why there are none.

    Args:
        faces: the faces.
        problem: a sentence without its subject, the image; empty if there are faces.
    """

    faces: Sequence[Face]
    problem: str = ""


class FaceReader:
    """Reads the faces of images for a model; may be called from several threads.

    Args:
        image_size: side of the faces, in pixels.
        channels: 1 for grey, 3 for RGB.
        aligned: whether an image is a face, cropped as those the model was trained on; otherwise faces are found in
            it and aligned.
        min_size_pixels: side of the smallest faces to use, at least 20; the crops of larger faces do not depend on it.
        frame: of faces that are found, in crops of `crop_side`: see `facelab.data.photos.align.frame_of`; None for that
            of `facelab align`.

    Raises:
        DataError: faces are to be found, and the detector's weights are not installed.
    """

    def __init__(
        self, image_size: int, channels: int, aligned: bool, min_size_pixels: int = 40, frame: Floats | None = None
    ) -> None:
        self.image_size, self.channels = image_size, channels
        self.aligned, self.min_size_pixels, self.frame = aligned, min_size_pixels, frame
        self._of_thread = threading.local()
        if not aligned:
            self._of_thread.detector = self._make_detector()

    def read(self, path: Path) -> Reading:
        """Read the faces of an image file. Unusable files are no errors, but have a problem."""
        try:
            return self.find(read_rgb(path))
        except DataError as error:
            return Reading([], str(error).removeprefix(str(path)).strip(" ."))

    def decode(self, content: bytes) -> Reading:
        """Read the faces of an encoded image, as `read` does."""
        try:
            with opened(io.BytesIO(content), "") as image:
                return self.find(np.asarray(image.convert("RGB"), dtype=np.uint8))
        except DataError as error:
            return Reading([], str(error).strip(" ."))

    def find(self, photo: NDArray[np.uint8]) -> Reading:
        """The faces of an image, (H, W, 3) uint8 in RGB."""
        try:
            faces = self.faces(photo)
        except DataError as error:
            return Reading([], str(error))
        if faces:
            return Reading(faces)
        if self.aligned:
            return Reading([], f"has {size_of(photo)} pixels, too few for a face (min_size_pixels)")
        least = self.min_size_pixels
        return Reading([], f"shows no face of at least {least} x {least} pixels (min_size_pixels)")

    def faces(self, photo: NDArray[np.uint8]) -> list[Face]:
        """The faces of an image, (H, W, 3) uint8 in RGB, the largest first; none if all are too small.

        Raises:
            DataError: it needs too much memory. The message lacks its subject, the image.
        """
        if self.aligned:
            is_usable = min(photo.shape[:2]) >= min(self.min_size_pixels, self.image_size)
            return [self._face(photo, None)] if is_usable else []
        try:
            found = self._detector(photo)
            found = found.of(np.flatnonzero(found.sides >= self.min_size_pixels))
            crops = [align(photo, points, crop_side(self.image_size), self.frame) for points in found.points]
        except (MemoryError, cv2.error) as error:
            raise DataError(f"needs too much memory ({error}); make it smaller") from error
        boxes = found.boxes.round().astype(int).tolist()
        return [self._face(crop, tuple(box)) for crop, box in zip(crops, boxes, strict=True)]

    @property
    def _detector(self) -> Detector:
        if not hasattr(self._of_thread, "detector"):
            self._of_thread.detector = self._make_detector()
        detector: Detector = self._of_thread.detector
        return detector

    def _make_detector(self) -> Detector:
        # A larger size would leave scales out, and a gallery compares faces that were found with different least sizes.
        return Detector(min(self.min_size_pixels, BASE_PIXELS))

    def _face(self, crop: NDArray[np.uint8], box: tuple[int, int, int, int] | None) -> Face:
        image = Image.fromarray(crop)
        picture = image.copy()
        picture.thumbnail((ALIGNED_SIZE, ALIGNED_SIZE))
        return Face(as_pixels(image, self.image_size, self.channels), picture, box)


def crop_side(image_size: int) -> int:
    """Side of the crop of a face in a photo, in pixels, before it is resized to the model's images of this side."""
    return max(ALIGNED_SIZE, image_size)


def size_of(photo: NDArray[np.uint8]) -> str:
    """Width and height of an image (H, W, 3), in words."""
    return f"{photo.shape[1]} x {photo.shape[0]}"


def embedded(
    faces: Iterable[tuple[Item, Face]], recogniser: Recogniser
) -> Iterator[tuple[list[tuple[Item, Face]], NDArray[np.float32]]]:
    """Faces, each with what it came with, and their embeddings (B, D); in batches, so that any number can be passed."""
    waiting: list[tuple[Item, Face]] = []
    for pair in faces:
        waiting.append(pair)
        if len(waiting) == _BATCH:
            yield waiting, recogniser.embed(np.stack([face.pixels for _, face in waiting]))
            waiting = []
    if waiting:
        yield waiting, recogniser.embed(np.stack([face.pixels for _, face in waiting]))
