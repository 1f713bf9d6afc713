"""Decoded pictures, kept between runs in the user's cache folder.

One file for each (folder, size, channels): a numpy file of a row for each picture, and behind it the SHA-256 of all
before. Its name says what it was made of, so that changed pictures never find it. Nothing is lost with it: what is
missing, stale or damaged is decoded anew.
"""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from facelab.data.reading import Table

_VERSION = 1  # of decoding: raise it where `images.decode` would give other pixels
_SUM_BYTES = 32
_LEFT_BEHIND_S = 3600.0


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/facelab`, or `~/.cache/facelab`."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (chosen if chosen.is_absolute() else Path.home() / ".cache") / "facelab"


class PictureCache:
    """What is kept of the pictures of one folder at one size.

    Args:
        root: the folder.
        of: all that the rows follow from, besides `root` and `row`: the files with sizes and times.
        row: type of a row.
        count: how many rows.
    """

    def __init__(self, root: Path, of: Sequence[str], row: np.dtype[Any], count: int) -> None:
        place = _hash([str(root.resolve()), str(row.descr)])
        state = _hash([str(_VERSION), PIL.__version__, *of])
        self._place, self._row, self._count = place, row, count
        self.path = cache_folder() / f"{place}-{state}.npy"

    def read(self) -> Table | None:
        """The rows, mapped from the file; None where there are none, or others than were written."""
        try:
            if not self._is_whole():
                return None
            # Copied where it is written to: PyTorch wants writable memory.
            table = np.load(self.path, mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError):
            return None
        return np.asarray(table) if table.dtype == self._row and table.shape == (self._count,) else None

    def write(self, table: Table) -> None:
        """Keep the rows, instead of what was kept of this folder before; a full or locked disk is no fault."""
        folder = self.path.parent
        temporary = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{self._place}-", suffix=".tmp", delete=False) as file:
                temporary = Path(file.name)
                np.save(file, table, allow_pickle=False)
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").digest()
                file.write(digest)
            temporary.replace(self.path)
            for other in folder.glob(f"{self._place}-*"):
                # What a killed process left, too; what another one is writing now is younger.
                is_old = other.suffix == ".npy" or time.time() - other.stat().st_mtime > _LEFT_BEHIND_S
                if other != self.path and is_old:
                    other.unlink(missing_ok=True)
        except OSError:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def _is_whole(self) -> bool:
        """Whether the file ends in the SHA-256 of what is before."""
        total = hashlib.sha256()
        with self.path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size - _SUM_BYTES
            while left > 0 and (block := file.read(min(left, 1 << 20))):
                total.update(block)
                left -= len(block)
            return file.read() == total.digest()


def _hash(parts: Sequence[str]) -> str:
    text = "\0".join(parts)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
