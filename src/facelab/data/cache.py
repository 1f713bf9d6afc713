"""Cache of decoded images in the user's cache folder.

There is one file per (folder, size, channels): a NumPy file with one row per image, followed by its SHA-256. The file
name contains a hash of the source files' state, so changed images miss the cache. A missing, stale or damaged file is
decoded again.
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

_VERSION = 3  # of decoding: increase it when `images.decode` returns other pixels, or rows have other hashes
_SUM_BYTES = 32
_LEFT_BEHIND_S = 3600.0


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/facelab`, or `~/.cache/facelab`."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (chosen if chosen.is_absolute() else Path.home() / ".cache") / "facelab"


class ImageCache:
    """Cached rows of the images of one folder at one size.

    Args:
        root: the folder.
        of: state that the rows depend on besides the other arguments: the files with sizes and times.
        shape: (H, W, C) of the decoded images, whose hashes the rows hold even if they do not hold the pixels.
        row: dtype of a row.
        count: number of rows.
    """

    def __init__(
        self, root: Path, of: Sequence[str], shape: tuple[int, int, int], row: np.dtype[Any], count: int
    ) -> None:
        place = _hash([str(root.resolve()), str(shape), str(row.descr)])
        state = _hash([str(_VERSION), PIL.__version__, *of])
        self._place, self._row, self._count = place, row, count
        self.path = cache_folder() / f"{place}-{state}.npy"

    def read(self) -> Table | None:
        """Memory-map the rows; None if the file is missing, damaged or of another type."""
        try:
            if not self._is_whole():
                return None
            # Copy-on-write, since PyTorch needs writable memory.
            table = np.load(self.path, mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError):
            return None
        return np.asarray(table) if table.dtype == self._row and table.shape == (self._count,) else None

    def write(self, table: Table) -> None:
        """Write the rows and delete older files of this folder; errors such as a full disk are ignored."""
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
                # Also temporary files of killed processes; files that another process is writing are younger.
                is_old = other.suffix == ".npy" or time.time() - other.stat().st_mtime > _LEFT_BEHIND_S
                if other != self.path and is_old:
                    other.unlink(missing_ok=True)
        except OSError:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def _is_whole(self) -> bool:
        """Whether the file ends with the SHA-256 of its other bytes."""
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
