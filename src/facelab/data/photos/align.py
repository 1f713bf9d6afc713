"""Align faces: rotate, scale and shift each so that its five points lie on ArcFace's template."""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.transform import estimate_transform

# Eyes, nose and corners of the mouth in a 112 x 112 crop. Source: J. Deng, J. Guo, N. Xue and S. Zafeiriou, "ArcFace:
# Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, and its code (insightface, face_align.py).
_TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
_TEMPLATE_SIZE = 112

Floats = NDArray[np.float64]


def template(size: int) -> Floats:
    """The five points, (5, 2), of an aligned face in a square crop of this side; x and y in pixels."""
    return np.array(_TEMPLATE) * size / _TEMPLATE_SIZE


def transform_of(points: NDArray[np.floating], size: int) -> Floats:
    """Similarity transform from a photo to the crop, (3, 3), with the least squared distances to the template.

    Source: S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI
    13(4), 1991.

    Args:
        points: (5, 2) in the photo, in the template's order.
        size: side of the crop, in pixels.
    """
    return np.asarray(estimate_transform("similarity", points, template(size)).params, dtype=np.float64)


def frame_of(points: NDArray[np.floating], size: int) -> Floats:
    """The map, (3, 3), from aligned crops to crops of another frame: a scale and a shift along each axis.

    Args:
        points: (N, 5, 2) of faces in square crops of that frame, in pixels; their median is mapped to.
        size: side of both crops, in pixels.
    """
    (x_scale, x_shift), (y_scale, y_shift) = (
        np.polyfit(*axis, 1) for axis in zip(template(size).T, np.median(points, axis=0).T, strict=True)
    )
    return np.array([[x_scale, 0, x_shift], [0, y_scale, y_shift], [0, 0, 1]])


def align(
    photo: NDArray[np.uint8], points: NDArray[np.floating], size: int, frame: Floats | None = None
) -> NDArray[np.uint8]:
    """Crop one face, aligned; black beyond the edges of the photo.

    Args:
        photo: (H, W, 3) uint8.
        points: (5, 2) in pixels, 0 at the left and upper edge of the photo.
        size: side of the crop, in pixels.
        frame: see `frame_of`; None for the template's own frame.

    Returns:
        (size, size, 3) uint8.
    """
    matrix = transform_of(points, size) if frame is None else frame @ transform_of(points, size)
    scale = float(np.sqrt(np.linalg.det(matrix[:2, :2])))
    if scale < 1:  # the warp below samples single pixels: reduce by averaging first
        corners = np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
        x, y, _ = np.linalg.inv(matrix) @ corners
        (left, right), (top, bottom) = _within(x, photo.shape[1]), _within(y, photo.shape[0])
        photo = photo[top:bottom, left:right]
        height, width = photo.shape[:2]
        reduced = max(round(width * scale), 1), max(round(height * scale), 1)
        photo = cv2.resize(photo, reduced, interpolation=cv2.INTER_AREA)
        matrix = matrix @ _shift(left, top) @ np.diag([width / reduced[0], height / reduced[1], 1])
    # OpenCV counts from the centre of the first pixel.
    matrix = _shift(-0.5, -0.5) @ matrix @ _shift(0.5, 0.5)
    return np.asarray(cv2.warpAffine(photo, matrix[:2], (size, size), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def _within(places: Floats, length: int) -> tuple[int, int]:
    """The pixels that these places span, with a margin: first and last + 1 of at least one that exists."""
    first = min(max(int(places.min()) - 1, 0), length - 1)
    return first, min(max(int(places.max()) + 2, first + 1), length)


def _shift(x: float, y: float) -> Floats:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
