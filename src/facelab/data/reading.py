"""Read many image files at once, with progress and bounded memory, and name all that cannot be used."""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from facelab.data.images import decode, kind_of_file, problem_with
from facelab.errors import DataError
from facelab.system import cores, make_console

_CHUNK = 64  # pictures a thread takes at once: a future for each of a million would need gigabytes
_SHOW_AFTER_S = 2.0
_SHOWN_PROBLEMS = 20

Table = NDArray[np.void]  # a row for each picture; see `table_type`


def table_type(image_size: int, channels: int, with_pixels: bool) -> np.dtype[Any]:
    """Of the rows of a `Table`: `digest`, 32 bytes, and `pixels`, (H, W, C) uint8, where these are held."""
    pixels = [("pixels", "u1", (image_size, image_size, channels))] if with_pixels else []
    return np.dtype([("digest", "u1", (32,)), *pixels])


def fill(table: Table, paths: Sequence[Path], image_size: int, channels: int) -> None:
    """Read every picture into its row.

    The digest is the SHA-256 of the resized pixels, or of the file where the table does not hold pixels.

    Args:
        table: of `table_type`; written to.
        paths: N files.
        image_size: side of the square the pictures are resized to, in pixels.
        channels: 1 for grey, 3 for RGB.

    Raises:
        DataError: naming every file that cannot be used, why, and what to do.
    """
    digests = table["digest"]

    def hold(index: int) -> str | None:
        try:
            pixels = decode(paths[index], image_size, channels)
        except DataError as error:
            return str(error)
        table["pixels"][index] = pixels
        digests[index] = np.frombuffer(hashlib.sha256(pixels.tobytes()).digest(), np.uint8)
        return None

    def look(index: int) -> str | None:
        problem = problem_with(paths[index])
        if problem is not None:
            return f"{paths[index]} {problem}."
        with paths[index].open("rb") as file:
            digests[index] = np.frombuffer(hashlib.file_digest(file, "sha256").digest(), np.uint8)
        return None

    refuse(_of_each(len(paths), hold if "pixels" in (table.dtype.names or ()) else look))


def check_files(paths: Sequence[Path]) -> list[os.stat_result]:
    """See that all are regular files, before any is opened.

    Returns:
        What the file system says of each.

    Raises:
        DataError: naming every one that is a folder, a FIFO, a device or the like.
    """
    problems, stats = [], []
    for path in paths:
        try:
            found = path.stat()
        except OSError as error:
            problems.append(f"{path} cannot be read ({error.strerror}); delete it or copy it again.")
            continue
        if not stat.S_ISREG(found.st_mode):
            problems.append(f"{path} is {kind_of_file(found.st_mode)}, not an image file; delete or rename it.")
        stats.append(found)
    refuse(problems)
    return stats


def refuse(problems: Sequence[str]) -> None:
    """Stop where there are problems with pictures.

    Raises:
        DataError: naming them, the first twenty of many.
    """
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        lines = [f"{len(problems):,} images cannot be used:", *(f"  - {text}" for text in problems[:_SHOWN_PROBLEMS])]
        if len(problems) > _SHOWN_PROBLEMS:
            lines.append(f"  ... and {len(problems) - _SHOWN_PROBLEMS:,} more")
        raise DataError("\n".join(lines))


def _of_each(count: int, work: Callable[[int], str | None]) -> list[str]:
    """Call `work` with 0 to count - 1 in threads (decoders let go of the interpreter); the problems, in order."""

    def chunk(start: int) -> list[str]:
        found = (work(index) for index in range(start, min(start + _CHUNK, count)))
        return [problem for problem in found if problem]

    problems: list[str] = []
    pool = ThreadPoolExecutor(cores())
    try:
        with _progress(count) as advance:
            for found in pool.map(chunk, range(0, count, _CHUNK)):
                problems += found
                advance(_CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)  # so that Ctrl-C need not wait for the rest
    return problems


@contextmanager
def _progress(count: int) -> Iterator[Callable[[int], None]]:
    """A bar with the time left, once it takes long; where output is no terminal, a line at the end."""
    console = make_console(stderr=True, quiet=int(os.environ.get("RANK", 0)) > 0)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("pictures · ETA"), TimeRemainingColumn())
    bar = Progress(TextColumn("reading"), *columns, console=console, transient=True)
    task = bar.add_task("", total=count)
    began = time.monotonic()
    shown = False

    def advance(by: int) -> None:
        nonlocal shown
        if not shown and time.monotonic() - began > _SHOW_AFTER_S:
            shown = True
            if console.is_terminal:
                bar.start()
        bar.advance(task, by)

    try:
        yield advance
    finally:
        if shown and console.is_terminal:  # `stop` of a bar that never began prints an empty line
            bar.stop()
    if shown:
        console.print(f"Read {count:,} pictures in {time.monotonic() - began:.0f} s.", highlight=False)
