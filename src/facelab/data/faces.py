"""Face sets: images with columns such as identity, one of which is the label."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facelab.data.columns import Column, Indices
from facelab.data.encoded import EncodedImages
from facelab.errors import DataError

IDENTITY, PART = "identity", "part"


class Pixels(Protocol):
    """Sequence of images."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(H, W, C) uint8."""
        ...


class InMemory:
    """Decoded images in memory, which forked loader workers share."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self._pixels[index]
        return image


@dataclass(frozen=True)
class StreamedPixels:
    """Images that are decoded on access."""

    images: EncodedImages
    image_size: int
    channels: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.images.decode(index, self.image_size, self.channels)


@dataclass(frozen=True)
class ChosenPixels:
    """Subset of a sequence of images.

    Args:
        pixels: the images to select from.
        indices: (M,) of the selected images.
    """

    pixels: Pixels
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.pixels[int(self.indices[index])]


@dataclass(frozen=True)
class JoinedPixels:
    """Two sequences of images, one after the other."""

    first: Pixels
    second: Pixels

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        before = len(self.first)
        return self.first[index] if index < before else self.second[index - before]


@dataclass(frozen=True)
class FaceSet:
    """A table with one row per face image.

    Args:
        name: display name.
        source: origin of the images, for MLflow's dataset entry.
        pixels: N images, (H, W, C) uint8 each.
        names: N image names, unique and equal on all machines.
        digests: N content hashes; equal images have equal digests.
        columns: N values each, by name. `identity`: the person, if known; `part`: `train`, `val` or `test`, if the set
            comes with a split.
        label: the column to predict; it has a value for every image.
        group: the column whose values a split must not share between its parts, if it is not the label.
        notes: what the source left out or decided, one sentence each.
        perceptual: (N, 32) uint8, perceptual hashes; None if they are unknown.
        loaded: the complete set, if this is a subset made by `only`.

    Raises:
        DataError: `label` or `group` is not a column, an image has no label, or all images have the same.
    """

    name: str
    source: str
    pixels: Pixels
    names: Sequence[str]
    digests: Sequence[str]
    columns: Mapping[str, Column]
    label: str = IDENTITY
    group: str = IDENTITY
    notes: Sequence[str] = ()
    perceptual: NDArray[np.uint8] | None = None
    loaded: "FaceSet | None" = None

    def __post_init__(self) -> None:
        for key, wanted in (("label", self.label), ("group", self.group)):
            if wanted not in self.columns and (key, wanted) != ("group", IDENTITY):
                raise DataError(_no_column(self, f"data.{key}={wanted}", wanted))
        missing = np.flatnonzero(self.labels < 0)
        if len(missing):
            shown = ", ".join(self.names[index] for index in missing[:5])
            raise DataError(
                f"{self.source}: {len(missing):,} of {len(self):,} images have no {self.label} (data.label="
                f"{self.label}): {shown}{', ...' if len(missing) > 5 else ''}. Add the values, or delete these images."
            )
        if len(self.label_names) < 2:
            raise DataError(
                f"{self.source} holds one class only ('{self.label_names[0]}', column {self.label}); expected at least "
                "two. Add images of other classes, or set data.label to another column."
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> Indices:
        """(N,) int64, index into `label_names`: the target of a classifier."""
        return self.columns[self.label].codes

    @property
    def label_names(self) -> Sequence[str]:
        """Name of each label."""
        return self.columns[self.label].names

    @property
    def has_identities(self) -> bool:
        """Whether the people are known."""
        return IDENTITY in self.columns

    @cached_property
    def identities(self) -> Indices:
        """(N,) int64, the person in the image; if people are unknown, every image has its own number."""
        return self.codes_of(IDENTITY)

    @cached_property
    def groups(self) -> Indices:
        """(N,) int64, what the parts of a split must not share; if people are unknown, every image has its own."""
        return self.codes_of(self.group)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        height, width, channels = self.pixels[0].shape
        return channels, height, width

    def codes_of(self, column: str) -> Indices:
        """Numbers (N,) int64 that are equal where a column has equal values.

        Images without a value, or all if there is no such column, have numbers of their own.
        """
        if column not in self.columns:
            return np.arange(len(self), dtype=np.int64)
        codes = self.columns[column].codes.copy()
        unknown = np.flatnonzero(codes < 0)
        codes[unknown] = len(self.columns[column].names) + np.arange(len(unknown))
        return codes

    def only(self, indices: Indices) -> "FaceSet":
        """Subset of the images. Classes without images are dropped, and the labels renumbered.

        Args:
            indices: (M,) image indices, in the order of the new set.
        """
        return replace(
            self,
            pixels=ChosenPixels(self.pixels, indices),
            names=[self.names[index] for index in indices],
            digests=[self.digests[index] for index in indices],
            columns={name: column.only(indices) for name, column in self.columns.items()},
            perceptual=None if self.perceptual is None else self.perceptual[indices],
            loaded=self if self.loaded is None else self.loaded,
        )

    def with_first(self, labels: Indices) -> "FaceSet":
        """The same images, with classes renumbered so that the given ones come first."""
        column = self.columns[self.label].with_first(labels)
        loaded = self if self.loaded is None else self.loaded
        return replace(self, columns={**self.columns, self.label: column}, loaded=loaded)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, columns and contents: equal fingerprints mean equal data.

        A subset has the fingerprint of the complete set: the split has a fingerprint of its own, which says what it
        leaves out.
        """
        if self.loaded is not None:
            return self.loaded.fingerprint
        further = sorted(set(self.columns) - {self.label, PART})
        values = [self.columns[name].texts for name in (self.label, *further)]
        lines = ("\t".join(row) for row in zip(self.names, *values, self.digests, strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _no_column(faces: FaceSet, setting: str, wanted: str) -> str:
    names = sorted(faces.columns)
    near = difflib.get_close_matches(wanted, names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{setting}: {faces.source} has no column '{wanted}'. Its columns: {', '.join(names)}.{hint}"
