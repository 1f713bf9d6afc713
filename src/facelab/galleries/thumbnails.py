"""Small pictures of enrolled people, as a gallery keeps them."""

import io
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def as_thumbnail(image: Image.Image) -> bytes:
    """A JPEG of 64 x 64 pixels; the image is stretched to a square."""
    written = io.BytesIO()
    image.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS).save(written, "JPEG", quality=85)
    return written.getvalue()


class Thumbnails(Sequence[bytes]):
    """Encoded images that lie one after the other; each is read when it is asked for.

    Args:
        content: bytes of all images.
        ends: where each ends.
    """

    def __init__(self, content: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._content, self._ends = content, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start = self._ends[place - 1] if place else 0
        return self._content[start : self._ends[place]].tobytes()
