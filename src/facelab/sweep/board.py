"""Show the progress of a sweep on the terminal."""

import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from facelab.system import duration
from facelab.tracking import Watch

_SHOWN = ("val/f1", "train/accuracy", "train/loss", "train/discriminator_loss", "train/psnr")


class Board:
    """Live table of a sweep: running jobs with progress, counts, and ETA. Plain lines if output is not a terminal.

    Args:
        console: where to draw.
        total: number of jobs to run, without those already done.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total = console, total
        self._begun = time.monotonic()
        self._finished = self._failed = self._stopped = 0
        self._running: dict[str, tuple[str, Watch, float]] = {}
        self._note = ""
        self._noted: set[str] = set()
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=2, transient=True)

    def __enter__(self) -> "Board":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, run_id: str, name: str, watch: Watch) -> None:
        """Show that a job has started."""
        self._running[run_id] = (name, watch, time.monotonic())
        if not self._console.is_terminal:
            self._say(f"{self._place()}  started   {name}")

    def finished(self, run_id: str) -> None:
        """Show that a job has finished."""
        self._finished += 1
        self._ended(run_id, "[green]finished[/]")

    def failed(self, run_id: str, reason: str, log: Path) -> None:
        """Show that a job has failed, and why."""
        self._failed += 1
        self._ended(run_id, "[red]failed[/]", f"{first_line(reason)}  (log: {log})")

    def stopped(self, run_id: str, how: str, why: str = "") -> None:
        """Show that a job was stopped."""
        self._stopped += 1
        self._ended(run_id, f"[yellow]{how}[/]", why)

    def note(self, text: str) -> None:
        """Replace the line below the table."""
        if text not in self._noted and not self._console.is_terminal:
            self._say(text)
        self._noted.add(text)
        self._note = text

    def _ended(self, run_id: str, how: str, further: str = "") -> None:
        name, _, since = self._running.pop(run_id)
        line = Text.from_markup(f"{self._place()}  {how}  ")
        line.append(f"{name}  {duration(time.monotonic() - since)}  {further}".rstrip())
        self._console.print(line, soft_wrap=True)

    def _say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _place(self) -> str:
        done = self._finished + self._failed + self._stopped
        width = len(str(self._total))
        return f"{done:>{width}}/{self._total}"

    def _draw(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(width=24)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        for name, watch, since in self._running.values():
            bar = ProgressBar(total=1.0, completed=watch.share, pulse=watch.total_images is None, width=24)
            seen = f"{watch.images_seen:,} of {watch.total_images:,} images" if watch.total_images else "begins"
            table.add_row(Text(name), bar, seen, f"{_values(watch.latest)}  {duration(time.monotonic() - since)}")
        counts = [f"{self._finished} finished", f"{len(self._running)} running"]
        counts += [f"[red]{self._failed} failed[/]"] if self._failed else []
        counts += [f"[yellow]{self._stopped} stopped[/]"] if self._stopped else []
        counts += [f"{self._left()} to come"] if self._left() else []
        eta = self._eta_s()
        passed = duration(time.monotonic() - self._begun)
        status = f"{', '.join(counts)}   {passed}" + (f"   ETA {duration(eta)}" if eta is not None else "")
        return Group(table, Text.from_markup(status), *([Text(self._note)] if self._note else []))

    def _left(self) -> int:
        return max(0, self._total - self._finished - self._failed - self._stopped - len(self._running))

    def _eta_s(self) -> float | None:
        """Estimated seconds to the end, assuming jobs of equal length; None at the beginning."""
        done = (
            self._finished + self._failed + self._stopped + sum(watch.share for _, watch, _ in self._running.values())
        )
        return (time.monotonic() - self._begun) * (self._total - done) / done if done > 0.05 else None


def first_line(reason: str) -> str:
    """First line of a reason, for a list of failures."""
    return next(iter(reason.strip().splitlines()), "")


def _values(latest: Mapping[str, float]) -> str:
    shown = [
        f"{name.rpartition('/')[0][:5]} {name.rpartition('/')[2]} {latest[name]:.3f}"
        for name in _SHOWN
        if name in latest
    ]
    return "  ".join(shown[:2])
