"""Images as they are stored: files, byte ranges of one large file, or arrays; each is decoded on demand."""

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelab.data.images import as_pixels, check_files, opened, opened_file, picture
from facelab.errors import DataError


class EncodedImages(ABC):
    """A sequence of N images that are decoded on demand, from any thread or process."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """Decode one image, upright, in its original size.

        Raises:
            DataError: it is unusable; names it and says why and what to do.
        """

    @abstractmethod
    def state(self) -> list[str]:
        """Texts that change whenever the content may have changed, cheap to obtain; the cache depends on them.

        Raises:
            DataError: a file is missing or is not a regular file.
        """

    def decode(self, index: int, image_size: int, channels: int) -> NDArray[np.uint8]:
        """Decode and resize one image.

        Args:
            index: of the image.
            image_size: side of the square result, in pixels; bilinear with antialiasing, ignoring the aspect ratio.
            channels: 1 for grey (ITU-R 601 luma), 3 for RGB.

        Returns:
            (image_size, image_size, channels) uint8.

        Raises:
            DataError: the image is unusable; names it and says why and what to do.
        """
        return as_pixels(self.image(index), image_size, channels)


class ImageFiles(EncodedImages):
    """One image per file.

    Args:
        paths: N files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Image.Image:
        """Decode a file."""
        with opened_file(self.paths[index]) as image:
            return image

    def state(self) -> list[str]:
        """Path, size and times of every file."""
        return [f"{path}/{_state(found)}" for path, found in zip(self.paths, check_files(self.paths), strict=True)]


class ImageRanges(EncodedImages):
    """Images that lie one after the other in one large file, which is never read as a whole.

    Args:
        path: the file.
        starts: (N,) int64, first byte of each image.
        lengths: (N,) int64, bytes of each image.
        names: N names for messages.
    """

    def __init__(self, path: Path, starts: NDArray[np.int64], lengths: NDArray[np.int64], names: Sequence[str]) -> None:
        self.path, self.starts, self.lengths, self.names = path, starts, lengths, names

    def __len__(self) -> int:
        return len(self.starts)

    def image(self, index: int) -> Image.Image:
        """Read and decode one image."""
        with opened(io.BytesIO(self.content(index)), self._named(index)) as image:
            return image

    def content(self, index: int) -> bytes:
        """Read the bytes of one image; the file is opened anew, so that processes share no position.

        Raises:
            DataError: the file cannot be read, or ends within the image.
        """
        try:
            with self.path.open("rb") as file:
                content = os.pread(file.fileno(), int(self.lengths[index]), int(self.starts[index]))
        except OSError as error:
            raise DataError(f"{self.path} could not be read ({error.strerror}); check the disk.") from error
        if len(content) < self.lengths[index]:
            raise DataError(f"{self._named(index)} is cut short: the file ends within it. Copy the file again.")
        return content

    def state(self) -> list[str]:
        """Path, size and times of the file, and a hash of the ranges."""
        (found,) = check_files([self.path])
        ranges = hashlib.sha256(self.starts.tobytes() + self.lengths.tobytes()).hexdigest()
        return [f"{self.path}/{_state(found)}/{ranges}"]

    def _named(self, index: int) -> str:
        return f"{self.path}: {self.names[index]}"


class ImageBytes(EncodedImages):
    """Encoded images in memory, such as those of a verification set in one file.

    Args:
        path: the file they come from.
        contents: N encoded images.
        names: N names for messages.
    """

    def __init__(self, path: Path, contents: Sequence[bytes], names: Sequence[str]) -> None:
        self.path, self.contents, self.names = path, contents, names

    def __len__(self) -> int:
        return len(self.contents)

    def image(self, index: int) -> Image.Image:
        """Decode one image."""
        with opened(io.BytesIO(self.contents[index]), f"{self.path}: {self.names[index]}") as image:
            return image

    def state(self) -> list[str]:
        """Path, size and times of the file."""
        (found,) = check_files([self.path])
        return [f"{self.path}/{_state(found)}/{len(self)}"]


class ImageArrays(EncodedImages):
    """Decoded images in memory, of any size.

    Args:
        path: the file they come from.
        arrays: N images, (H, W, 1 or 3) uint8 each.
    """

    def __init__(self, path: Path, arrays: Sequence[NDArray[np.uint8]]) -> None:
        self.path, self.arrays = path, arrays

    def __len__(self) -> int:
        return len(self.arrays)

    def image(self, index: int) -> Image.Image:
        """One image."""
        return picture(self.arrays[index])

    def state(self) -> list[str]:
        """Path, size and times of the file, and a hash of the arrays, which may come from other files too."""
        (found,) = check_files([self.path])
        total = hashlib.sha256()
        for array in self.arrays:
            total.update(f"{array.shape}".encode())
            total.update(array.tobytes())
        return [f"{self.path}/{_state(found)}/{total.hexdigest()}"]


class JoinedImages(EncodedImages):
    """Several sequences of images, one after the other."""

    def __init__(self, parts: Sequence[EncodedImages]) -> None:
        self.parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self.parts) else 0

    def image(self, index: int) -> Image.Image:
        """Decode one image of the part that holds it."""
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[part].image(index - int(self._ends[part]) + len(self.parts[part]))

    def state(self) -> list[str]:
        """The state of every part."""
        return [text for part in self.parts for text in part.state()]


def _state(found: os.stat_result) -> str:
    return f"{found.st_size}/{found.st_mtime_ns}/{found.st_ctime_ns}"
