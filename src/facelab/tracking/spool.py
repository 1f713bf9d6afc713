"""A run's records on disk, between training and the tracking store.

Training appends lines; a thread, or `facelab sync` later, delivers them. A line counts as delivered only after the
store has accepted it, so outages and kills lose nothing.
"""

import errno
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facelab.errors import TrackingError

SPOOL, _ACCOUNT = "spool.jsonl", "spool.delivered"

Item = dict[str, Any]


@dataclass(frozen=True)
class Spooled:
    """An item of the spool, and the position in the file where it ends."""

    item: Item
    end: int


class Spool:
    """The append-only file `spool.jsonl` of a run's folder, with one JSON object per line.

    Metrics and images are identified by name and step and written only once: a run resumed from a checkpoint does not
    duplicate what it had recorded after that checkpoint.

    Args:
        folder: of the run; must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path, self._account = folder / SPOOL, folder / _ACCOUNT
        self._lock = threading.Lock()
        self._known = {known for spooled in self._read(0) for known in _names(spooled.item)}

    @property
    def known(self) -> frozenset[tuple[str, str, int]]:
        """(kind, name, step) of every metric, picture and model added so far; a model's name is its SHA-256."""
        return frozenset(self._known)

    def items(self) -> list[Item]:
        """All items, delivered or not."""
        return [spooled.item for spooled in self._read(0)]

    def metrics(self, values: Mapping[str, float], step: int, time_ms: int) -> None:
        """Add values by name at a step, except those added before."""
        new = {name: float(value) for name, value in values.items() if ("metric", name, step) not in self._known}
        if new:
            self.add({"metrics": new, "step": step, "time_ms": time_ms})

    def picture(self, key: str, file: str, step: int, time_ms: int) -> None:
        """Add a PNG file of the run's folder, shown as `key` at a step, unless added before."""
        if ("picture", key, step) not in self._known:
            self.add({"picture": key, "file": file, "step": step, "time_ms": time_ms})

    def model(self, record: Item, sha256: str) -> None:
        """Add a trained model, unless one with weights of this SHA-256 was added before."""
        if ("model", sha256, 0) not in self._known:
            self.add({"model": record})

    def add(self, item: Item) -> None:
        """Add an item. Once this returns, a kill of the process cannot lose it.

        Raises:
            TrackingError: the disk is full or cannot be written.
        """
        line = (json.dumps(item) + "\n").encode()
        with self._lock:
            self._append(line)
            self._known.update(_names(item))

    def waiting(self) -> list[Spooled]:
        """Items not delivered yet, oldest first."""
        return list(self._read(self._delivered()))

    def delivered(self, spooled: Spooled) -> None:
        """Mark an item, and all before it, as delivered."""
        partial = self._account.with_suffix(".partial")
        partial.write_text(f"{spooled.end}\n", encoding="ascii")
        partial.replace(self._account)

    def _delivered(self) -> int:
        try:
            return int(self._account.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):  # start over: the store ignores points it already has
            return 0

    def _append(self, line: bytes) -> None:
        """Append in one write call, so that lines of several processes do not mix.

        A last line that a full disk or a kill has cut off is ended first; readers skip it.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if os.lseek(descriptor, 0, os.SEEK_END):
                    os.lseek(descriptor, -1, os.SEEK_END)
                    line = line if os.read(descriptor, 1) == b"\n" else b"\n" + line
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise TrackingError(
                f"{self._path} could not be written ({error.strerror}). Free disk space, then resume with "
                f"resume={self.folder.name}."
            ) from error

    def _read(self, start: int) -> Iterator[Spooled]:
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                for line in file:
                    if not line.endswith(b"\n"):
                        return  # being written, or truncated by a kill
                    start += len(line)
                    try:
                        yield Spooled(json.loads(line), start)
                    except ValueError:
                        continue  # a truncated line
        except FileNotFoundError:
            return


def _names(item: Item) -> Iterator[tuple[str, str, int]]:
    for name in item.get("metrics", ()):
        yield "metric", name, item["step"]
    if "picture" in item:
        yield "picture", item["picture"], item["step"]
    if "model" in item:
        yield "model", item["model"]["sha256"], 0
