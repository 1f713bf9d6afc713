"""Progress of a command over many photos."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from facelab.system import duration, make_console

_REPORT_S = 30.0


@contextmanager
def progress(doing: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show photos done and the time left; without a terminal, in a line every half a minute.

    Args:
        doing: what is done to them, such as `aligning`.
        total: number of photos.
        done: number of those that were done before.

    Returns:
        To be called after each further photo.
    """
    console, began, first = make_console(stderr=True), time.monotonic(), done
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("photos · ETA"), TimeRemainingColumn())
    bar = Progress(TextColumn(doing), *columns, console=console, transient=True, disable=not console.is_terminal)
    task, next_line = bar.add_task("", total=total, completed=done), began + _REPORT_S

    def advance() -> None:
        nonlocal done, next_line
        done += 1
        bar.advance(task)
        now = time.monotonic()
        if not console.is_terminal and now >= next_line:
            next_line = now + _REPORT_S
            eta = duration((now - began) / (done - first) * (total - done))
            say(f"{done:>9,} of {total:,} photos  ETA {eta}")

    with bar:
        yield advance


def say(text: str) -> None:
    """Print a line to standard error, beside a progress bar."""
    make_console(stderr=True).print(text, highlight=False, soft_wrap=True)
