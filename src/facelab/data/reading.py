"""Read many images in parallel, with a progress bar and bounded memory; report all unusable ones at once."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from facelab.data.encoded import EncodedImages
from facelab.data.images import refuse
from facelab.data.near import HASH_BYTES, LUMA_SIDE, hashes_of, small_luma
from facelab.errors import DataError
from facelab.system import cores, make_console

_CHUNK = 64  # images per task: one future for each of a million images would need gigabytes
_SHOW_AFTER_S = 2.0

Table = NDArray[np.void]  # one row per image; see `table_type`


def table_type(image_size: int, channels: int, with_pixels: bool) -> np.dtype[Any]:
    """Row type of a `Table`: `digest` and `perceptual`, 32 bytes each; `pixels`, (H, W, C) uint8, if `with_pixels`."""
    pixels = [("pixels", "u1", (image_size, image_size, channels))] if with_pixels else []
    return np.dtype([("digest", "u1", (32,)), ("perceptual", "u1", (HASH_BYTES,)), *pixels])


def fill(table: Table, images: EncodedImages, image_size: int, channels: int) -> None:
    """Decode every image into its row of the table; the hashes are those of the resized pixels.

    `digest` is their SHA-256, `perceptual` their `perceptual_hash`.

    Args:
        table: (N,) of `table_type`; filled in place.
        images: N images.
        image_size: side of the square the images are resized to, in pixels.
        channels: 1 for grey, 3 for RGB.

    Raises:
        DataError: some images are unusable; names each one, why, and what to do.
    """
    held = "pixels" in (table.dtype.names or ())

    def read(rows: slice) -> list[str]:
        problems, part = [], table[rows]
        luma = np.zeros((len(part), LUMA_SIDE, LUMA_SIDE), dtype=np.float32)
        for place, index in enumerate(range(rows.start, rows.stop)):
            try:
                pixels = images.decode(index, image_size, channels)
            except DataError as error:
                problems.append(str(error))
                continue
            if held:
                part["pixels"][place] = pixels
            part["digest"][place] = np.frombuffer(hashlib.sha256(pixels.tobytes()).digest(), np.uint8)
            luma[place] = small_luma(pixels)
        part["perceptual"] = hashes_of(luma)
        return problems

    refuse(in_chunks(len(images), read))


def of_each(count: int, work: Callable[[int], str | None]) -> list[str]:
    """Call `work` with 0 to count - 1 as `in_chunks` does; returns the problems in order."""

    def chunk(rows: slice) -> list[str]:
        return [problem for index in range(rows.start, rows.stop) if (problem := work(index))]

    return in_chunks(count, chunk)


def in_chunks(count: int, work: Callable[[slice], list[str]]) -> list[str]:
    """Call `work` with slices of 0 to count in threads (decoders release the GIL); returns the problems in order."""
    problems: list[str] = []
    pool = ThreadPoolExecutor(cores())
    try:
        with _progress(count) as advance:
            chunks = (slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))
            for found in pool.map(work, chunks):
                problems += found
                advance(_CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the remaining images
    return problems


@contextmanager
def _progress(count: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar after two seconds; without a terminal, print one line at the end."""
    console = make_console(stderr=True, quiet=int(os.environ.get("RANK", 0)) > 0)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images · ETA"), TimeRemainingColumn())
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
        if shown and console.is_terminal:  # stopping a bar that never started prints an empty line
            bar.stop()
    if shown:
        console.print(f"Read {count:,} images in {time.monotonic() - began:.0f} s.", highlight=False)
