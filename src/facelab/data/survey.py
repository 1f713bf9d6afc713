"""Look at the images of a face set before training: what is unusable, repeated or unusual."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from facelab.data.columns import Column, Indices
from facelab.data.faces import ChosenPixels, FaceSet, StreamedPixels
from facelab.data.images import as_pixels
from facelab.data.near import HASH_BYTES, near_pairs, perceptual_hash
from facelab.data.reading import of_each
from facelab.data.source import FaceSource, Rows, readable, refuse_repeated
from facelab.data.splits.base import Split, prepare
from facelab.errors import DataError, FacelabError
from facelab.system import visible

MEASURED_SIDE = 256  # larger images are reduced to this side before brightness and sharpness are measured

_TABLE = np.dtype(
    [
        ("usable", "?"),
        ("turned", "?"),
        ("mode", "U4"),
        ("width", "u4"),
        ("height", "u4"),
        ("brightness", "f4"),
        ("sharpness", "f4"),
        ("digest", "u1", (32,)),
        ("hash", "u1", (HASH_BYTES,)),
    ]
)
Measured = NDArray[np.void]


@dataclass(frozen=True)
class Pair:
    """Two images of equal or nearly equal content.

    Args:
        first: index of one image.
        second: index of the other, which comes later.
        bits: bits in which their perceptual hashes differ; None if the images are identical as training sees them.
    """

    first: int
    second: int
    bits: int | None


@dataclass(frozen=True)
class Survey:
    """What is known about N images after reading each once.

    Args:
        rows: names and columns.
        measured: (N,) with the fields `usable`, `turned` (by EXIF), `mode`, `width` and `height` in pixels, upright,
            `brightness` and `sharpness`; only `usable` has a meaning for unusable images.
        problems: a sentence for each unusable file, and for each problem with the listing.
        labels: the column to predict; None if the set has no such column.
        pairs: identical and near-duplicate images.
        faces: the set of the usable images; None if training would refuse it.
        refusal: why training would refuse the usable images, or an empty text.
    """

    rows: Rows
    measured: Measured
    problems: Sequence[str]
    labels: Column | None
    pairs: Sequence[Pair]
    faces: FaceSet | None
    refusal: str

    @property
    def usable(self) -> Indices:
        """Indices of the usable images."""
        return np.flatnonzero(self.measured["usable"])

    def label(self, index: int) -> str:
        """The label of an image; empty if it has none."""
        code = -1 if self.labels is None else int(self.labels.codes[index])
        return "" if self.labels is None or code < 0 else self.labels.names[code]

    def of_two_labels(self, pair: Pair) -> bool:
        """Whether the images of a pair have different labels."""
        return self.label(pair.first) != self.label(pair.second)

    @property
    def class_sizes(self) -> Indices:
        """Number of usable images of each label."""
        codes = np.empty(0, np.int64) if self.labels is None else self.labels.codes[self.usable]
        return np.bincount(codes[codes >= 0], minlength=0 if self.labels is None else len(self.labels.names))


@dataclass(frozen=True)
class SplitOutcome:
    """What a split rule makes of a face set.

    Args:
        name: of the rule, with what was set on the command line.
        images: number of images by part; empty if the rule raised an error.
        people: number of people by part, or of classes if the people are unknown.
        notes: what the rule leaves out, in printable characters.
        error: the first line of its message, in printable characters; empty if it succeeded.
    """

    name: str
    images: dict[str, int]
    people: dict[str, int]
    notes: tuple[str, ...]
    error: str


def survey(source: FaceSource) -> Survey:
    """Read every image once; unusable ones are reported and left out.

    Memory: about 150 bytes an image besides its name; pixels are not kept.

    Raises:
        DataError: the images cannot be listed.
    """
    rows = source.listed()
    measured = np.zeros(len(rows.names), dtype=_TABLE)
    unusable: dict[int, str] = {}

    def look(index: int) -> None:
        try:
            measured[index] = _measured(rows.images.image(index), source.image_size, source.channels)
        except DataError as error:
            unusable[index] = str(error)

    of_each(len(rows.names), look)
    label = rows.columns.get(source.label)
    found = Survey(
        rows=rows,
        measured=measured,
        problems=[*rows.problems, *(unusable[index] for index in sorted(unusable))],
        labels=None if label is None else Column.of([readable(text) for text in label]),
        pairs=(),
        faces=None,
        refusal="",
    )
    faces, refusal = _face_set(source, found)
    return replace(found, pairs=_pairs(measured), faces=faces, refusal=refusal)


def brightness(luma: NDArray[np.uint8]) -> float:
    """Mean luma, 0 to 255, of an image (H, W) uint8."""
    return float(luma.mean())


def sharpness(luma: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian (four neighbours) of an image (H, W) uint8; 0 below 3 x 3 pixels.

    Low for blurred images, high for sharp and for noisy ones.

    Source: J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study", ICPR 2000.
    """
    if min(luma.shape) < 3:
        return 0.0
    pixel = luma.astype(np.float32)
    middle = pixel[1:-1, 1:-1]
    return float((pixel[:-2, 1:-1] + pixel[2:, 1:-1] + pixel[1:-1, :-2] + pixel[1:-1, 2:] - 4 * middle).var())


def split_outcome(faces: FaceSet, name: str, make: Callable[[], Split]) -> SplitOutcome:
    """Try a split rule.

    Args:
        faces: the face set.
        name: of the rule.
        make: builds the rule; its errors are reported as those of the rule.
    """
    try:
        prepared, splits = prepare(faces, make())
    except FacelabError as error:
        first, *rest = str(error).splitlines()
        return SplitOutcome(name, {}, {}, (), visible(first.rstrip(":") + "." if rest else first))
    numbers = prepared.identities if prepared.has_identities else prepared.labels
    people = {part: len(np.unique(numbers[indices])) for part, indices in splits.items()}
    notes = tuple(visible(note) for note in splits.notes)
    return SplitOutcome(name, {part: len(indices) for part, indices in splits.items()}, people, notes, "")


def thumbnails(rows: Rows, indices: Iterable[int], side: int) -> dict[int, NDArray[np.uint8]]:
    """Small versions (side, side, 3) uint8 of some images by index, in their own proportions on white.

    Those that have become unusable meanwhile are white.
    """
    chosen = sorted(set(indices))
    small = {index: np.full((side, side, 3), 255, dtype=np.uint8) for index in chosen}

    def read(position: int) -> None:
        with contextlib.suppress(DataError):
            image = rows.images.image(chosen[position]).convert("RGB")
            small[chosen[position]] = np.asarray(ImageOps.pad(image, (side, side), color="white"))

    of_each(len(chosen), read)
    return small


def _measured(image: Image.Image, image_size: int, channels: int) -> tuple[object, ...]:
    """A row of `_TABLE`; digest and hash are of the pixels that training sees."""
    pixels = as_pixels(image, image_size, channels)
    grey = image.convert("L")
    grey.thumbnail((MEASURED_SIDE, MEASURED_SIDE), Image.Resampling.BILINEAR)
    luma = np.asarray(grey)
    digest = np.frombuffer(hashlib.sha256(pixels.tobytes()).digest(), np.uint8)
    size = (image.mode, image.width, image.height)
    turned = bool(image.info.get("turned", False))
    return (True, turned, *size, brightness(luma), sharpness(luma), digest, perceptual_hash(pixels))


def _face_set(source: FaceSource, found: Survey) -> tuple[FaceSet | None, str]:
    """The usable images as a face set, or else why training would refuse them."""
    rows, kept = found.rows, found.usable
    where = rows.source or readable(str(rows.root.absolute()))
    if not len(kept):
        return None, f"{where} holds no usable images."
    chosen = replace(
        rows,
        names=[rows.names[index] for index in kept],
        columns={name: [texts[index] for index in kept] for name, texts in rows.columns.items()},
    )
    pixels = ChosenPixels(StreamedPixels(rows.images, source.image_size, source.channels), kept)
    try:
        refuse_repeated(rows.names, where)
        return source.face_set(chosen, found.measured["digest"][kept], pixels), ""
    except DataError as error:
        return None, str(error)


def _pairs(measured: Measured) -> list[Pair]:
    """Each copy with the first identical image, then pairs of near-duplicates."""
    usable = np.flatnonzero(measured["usable"])
    if not len(usable):
        return []
    digests = np.ascontiguousarray(measured["digest"][usable]).view("V32").ravel()
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    first_of = first[inverse]
    copies = np.flatnonzero(first_of != np.arange(len(usable)))
    pairs = [Pair(int(usable[first_of[copy]]), int(usable[copy]), None) for copy in copies]
    hashes = np.ascontiguousarray(measured["hash"][usable])
    near = near_pairs(hashes)
    near = near[first_of[near[:, 0]] != first_of[near[:, 1]]]
    bits = np.bitwise_count(hashes[near[:, 0]] ^ hashes[near[:, 1]]).sum(axis=1, dtype=np.int64)
    return pairs + [
        Pair(int(usable[one]), int(usable[other]), int(distance))
        for (one, other), distance in zip(near, bits, strict=True)
    ]
