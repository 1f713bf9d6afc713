"""A run's points on disk, between training and the tracking store.

Training appends lines; a thread, or `facelab sync` later, delivers them. A line is removed from the account only after
the store has taken it, so that a store that is away costs nothing, and a process that is killed neither.
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
    """An item that waits, and where in the file the next one begins."""

    item: Item
    end: int


class Spool:
    """The file `spool.jsonl` of a run's folder: one JSON object a line, only ever appended to.

    A point or picture is known by its name and step: what is there already is not written again, so that a run that
    goes on from a checkpoint does not double what it had recorded after saving it.

    Args:
        folder: of the run; must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path, self._account = folder / SPOOL, folder / _ACCOUNT
        self._lock = threading.Lock()
        self._known = {known for spooled in self._read(0) for known in _names(spooled.item)}
        self._end_last_line()

    @property
    def known(self) -> frozenset[tuple[str, str, int]]:
        """("metric" or "picture", name, step) of all that was ever added."""
        return frozenset(self._known)

    def items(self) -> list[Item]:
        """All that was ever added, delivered or not."""
        return [spooled.item for spooled in self._read(0)]

    def metrics(self, values: Mapping[str, float], step: int, time_ms: int) -> None:
        """Add values by name at a step."""
        new = {name: float(value) for name, value in values.items() if ("metric", name, step) not in self._known}
        if new:
            self.add({"metrics": new, "step": step, "time_ms": time_ms})

    def picture(self, key: str, file: str, step: int, time_ms: int) -> None:
        """Add a PNG file of the run's folder, to be shown under `key` at a step."""
        if ("picture", key, step) not in self._known:
            self.add({"picture": key, "file": file, "step": step, "time_ms": time_ms})

    def add(self, item: Item) -> None:
        """Add anything; it is safe from a kill of the process as soon as this returns.

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
        """Strike an item, and all before it, off the account."""
        partial = self._account.with_suffix(".partial")
        partial.write_text(f"{spooled.end}\n", encoding="ascii")
        partial.replace(self._account)

    def _delivered(self) -> int:
        try:
            return int(self._account.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):  # unknown: the store knows points it already has
            return 0

    def _append(self, line: bytes) -> None:
        """In one write call: lines of two processes do not mix."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise TrackingError(
                f"{self._path} could not be written ({error.strerror}). Make room, then go on with "
                f"resume={self.folder.name}."
            ) from error

    def _end_last_line(self) -> None:
        """A line that was cut off must not swallow the next one."""
        if self._path.is_file() and self._path.stat().st_size:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                last = file.read(1)
            if last != b"\n":
                self._append(b"\n")

    def _read(self, start: int) -> Iterator[Spooled]:
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                for line in file:
                    if not line.endswith(b"\n"):
                        return  # being written, or cut off by a kill
                    start += len(line)
                    try:
                        yield Spooled(json.loads(line), start)
                    except ValueError:
                        continue  # a line that was cut off
        except FileNotFoundError:
            return


def _names(item: Item) -> Iterator[tuple[str, str, int]]:
    for name in item.get("metrics", ()):
        yield "metric", name, item["step"]
    if "picture" in item:
        yield "picture", item["picture"], item["step"]
