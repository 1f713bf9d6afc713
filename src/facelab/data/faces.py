"""Face sets: images with labels, identities and metadata, and the sources they are loaded from."""

import hashlib
import importlib.util
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facelab.data.cache import PictureCache
from facelab.data.images import decode
from facelab.data.reading import Table, check_files, fill, table_type
from facelab.errors import DataError

# Decoded sets up to this size are held in memory; images of larger sets are decoded on access.
MEMORY_LIMIT_BYTES = 1 << 30
WORTH_CACHING_S = 1.0  # sets that are read faster than this are not cached

ImageSize = Annotated[int, Field(ge=8, le=1024)]
Channels = Literal[1, 3]


class Pixels(Protocol):
    """Sequence of images."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(H, W, C) uint8."""
        ...


@dataclass(frozen=True)
class StreamedPixels:
    """Images that are decoded on access."""

    paths: Sequence[Path]
    image_size: int
    channels: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return decode(self.paths[index], self.image_size, self.channels)


@dataclass(frozen=True)
class ChosenPixels:
    """Subset of a sequence of images.

    Args:
        pixels: the images to select from.
        indices: (M,) of the selected images.
    """

    pixels: Pixels
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.pixels[int(self.indices[index])]


@dataclass(frozen=True)
class FaceSet:
    """Set of face images with labels, identities and metadata.

    Args:
        name: display name.
        source: origin of the images, for MLflow's dataset entry.
        pixels: N images, (H, W, C) uint8 each.
        names: N image names, unique and equal on all machines.
        labels: (N,) int64, index into `label_names`: the target of a classifier.
        label_names: name of each label.
        identities: (N,) int64, the person in the image; equal to `labels` if the classes are people.
        digests: N content hashes; equal images have equal digests.
        columns: further metadata, (N,) each, by name. `part`: `train`, `val` or `test`, if the source has a split.
        loaded: the complete set, if this is a subset made by `only`.
    """

    name: str
    source: str
    pixels: Pixels
    names: Sequence[str]
    labels: NDArray[np.int64]
    label_names: Sequence[str]
    identities: NDArray[np.int64]
    digests: Sequence[str]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    loaded: "FaceSet | None" = None

    def __post_init__(self) -> None:
        if len(self.label_names) < 2:
            raise DataError(
                f"{self.source} holds one class only ('{self.label_names[0]}'); expected at least two. "
                "Put the images of each person into a separate folder."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        height, width, channels = self.pixels[0].shape
        return channels, height, width

    def only(self, indices: NDArray[np.int64]) -> "FaceSet":
        """Subset of the images. Classes without images are dropped, and the labels renumbered.

        Args:
            indices: (M,) image indices, in the order of the new set.
        """
        labels, new_labels = np.unique(self.labels[indices], return_inverse=True)
        _, identities = np.unique(self.identities[indices], return_inverse=True)
        return replace(
            self,
            pixels=ChosenPixels(self.pixels, indices),
            names=[self.names[index] for index in indices],
            labels=new_labels.astype(np.int64),
            label_names=[self.label_names[label] for label in labels],
            identities=identities.astype(np.int64),
            digests=[self.digests[index] for index in indices],
            columns={name: column[indices] for name, column in self.columns.items()},
            loaded=self if self.loaded is None else self.loaded,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, labels and contents: equal fingerprints mean equal data.

        A subset has the fingerprint of the complete set, since the split's config determines what it leaves out.
        """
        if self.loaded is not None:
            return self.loaded.fingerprint
        lines = (
            f"{name}\t{self.label_names[label]}\t{digest}"
            for name, label, digest in zip(self.names, self.labels, self.digests, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class FaceSource(ABC):
    """Base class of data sources. Construction is cheap; `load` reads the images."""

    @abstractmethod
    def load(self) -> FaceSet:
        """Read the images.

        Raises:
            DataError: a file is missing or unusable; says which one and what to do.
        """


class InMemory:
    """Decoded images in memory, which forked loader workers share."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self._pixels[index]
        return image


def from_files(
    name: str,
    source: str,
    files: Mapping[str, Sequence[Path]],
    root: Path,
    image_size: int,
    channels: int,
    columns: Mapping[str, NDArray[Any]] | None = None,
) -> FaceSet:
    """Load a face set from image files.

    Args:
        name: of the set.
        source: of the set.
        files: paths by class.
        root: folder that holds all files; images are named by their path relative to it.
        image_size: side of the square the images are resized to, in pixels.
        channels: 1 for grey, 3 for RGB.
        columns: of the set, in the order of `files`.

    Raises:
        DataError: some files are unusable; names each one, why, and what to do.
    """
    paths = [path for of_class in files.values() for path in of_class]
    prefix = f"{root.as_posix()}/"
    names = [path.as_posix().removeprefix(prefix) for path in paths]
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(of_class) for of_class in files.values()])
    table = _read(paths, names, root, image_size, channels)
    held = "pixels" in (table.dtype.names or ())
    return FaceSet(
        name=name,
        source=source,
        pixels=InMemory(table["pixels"]) if held else StreamedPixels(paths, image_size, channels),
        names=[readable(text) for text in names],
        labels=labels,
        label_names=[readable(text) for text in files],
        identities=labels,
        digests=[row.tobytes().hex() for row in table["digest"]],
        columns=columns or {},
    )


def _read(paths: Sequence[Path], names: Sequence[str], root: Path, image_size: int, channels: int) -> Table:
    """Read digests, and pixels if they fit into memory, from the cache or else from the files."""
    stats = check_files(paths)
    of = [
        f"{name}/{found.st_size}/{found.st_mtime_ns}/{found.st_ctime_ns}"
        for name, found in zip(names, stats, strict=True)
    ]
    row = table_type(image_size, channels, len(paths) * image_size * image_size * channels <= MEMORY_LIMIT_BYTES)
    cache = PictureCache(root, of, row, len(paths))
    cached = cache.read()
    if cached is not None:
        return cached
    table = np.empty(len(paths), dtype=row)
    began = time.monotonic()
    fill(table, paths, image_size, channels)
    if time.monotonic() - began > WORTH_CACHING_S:
        cache.write(table)
    return table


def digest(image: NDArray[np.uint8]) -> str:
    """SHA-256 of the pixels, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def package_folder(package: str) -> Path:
    """Folder of an installed package, found without importing it.

    Raises:
        DataError: the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(
            f"the package '{package}', which contains this data set, is not installed: pip install {package}."
        )
    return Path(spec.origin).parent


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key for natural order: s2 comes before s10."""
    pieces = re.split(r"(\d+)", name)
    return [(1, int(piece), "") if piece.isdecimal() else (0, 0, piece.lower()) for piece in pieces] + [(0, 0, name)]


def readable(name: str) -> str:
    """A file name as printable text: bytes that are not valid UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
