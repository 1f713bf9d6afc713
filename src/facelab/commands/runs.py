"""The commands `facelab runs` and `facelab sync`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from rich.table import Table
from rich.text import Text

from facelab.config.build import build
from facelab.errors import ConfigError, RunInUseError, TrackingError
from facelab.system import check_path, duration, make_console, training_command
from facelab.tracking import Store, TrackedRun, connect, recent_runs

_COLOURS = {"RUNNING": "cyan", "FINISHED": "green", "FAILED": "red", "KILLED": "yellow"}


@dataclass(frozen=True)
class Overview:
    """The root of the `runs` config.

    Args:
        tracking: the store to search.
        limit: number of runs to show, newest first.
    """

    tracking: Store
    limit: Annotated[int, Field(ge=1, le=1000)] = 30


def show_runs(config: Mapping[str, Any]) -> None:
    """Print a table of the newest runs, and close those whose process died.

    Args:
        config: a checked config of `Overview`.

    Raises:
        ConfigError: there is no store.
        TrackingError: the store cannot be reached or written.
    """
    overview = Overview(**build(config))
    overview.tracking.refuse_missing()
    rows = recent_runs(overview.tracking, overview.limit)
    console = make_console()
    if not rows:
        console.print(f"There are no runs in {overview.tracking.uri} yet.")
        return
    table = Table(title=f"runs in {overview.tracking.uri}", title_justify="left", box=None)
    table.add_column("run", vertical="top", min_width=len(rows[0].id), overflow="fold")  # ids are copied: never cut
    for name in ("status", "images", "test", "time", "started"):
        table.add_column(name, justify="right" if name in ("images", "test", "time") else "left", vertical="top")
    for row in rows:
        kind = f"\nevaluation of {row.evaluates}" if row.evaluates else ""
        status = (row.status, _COLOURS.get(row.status, "white"))
        table.add_row(
            Text.assemble(f"{row.experiment}: {row.name}\n", (row.id, "dim"), (kind, "dim")),
            Text.assemble(status, *([("\n" + row.reason, "dim")] if row.reason else [])),
            "" if row.evaluates else f"{row.images_seen:,}",
            "" if row.accuracy is None else f"{row.accuracy:.1%}",
            duration(row.seconds),
            time.strftime("%m-%d %H:%M", time.localtime(row.started_s)),
        )
    console.print(table)
    console.print(f"To resume an unfinished run: {training_command()} resume=<run id>", highlight=False)


@dataclass(frozen=True)
class Sync:
    """The root of the `sync` config.

    Args:
        runs_folder: where runs keep their files.
        uri: of the tracking server that may receive the records; not needed for a store that is a file.
    """

    runs_folder: str = "runs"
    uri: str | None = None


def sync(config: Mapping[str, Any]) -> None:
    """Deliver records that runs could not deliver to their store.

    Args:
        config: a checked config of `Sync`.

    Raises:
        ConfigError: there is no such folder, or `uri` is not the address of a server.
        TrackingError: some records still cannot be delivered; they are kept.
    """
    options = Sync(**build(config))
    folder = Path(options.runs_folder)
    check_path("runs_folder", folder)
    if not folder.is_dir():
        raise ConfigError(f"runs_folder: {folder.absolute()} is not a folder. Name one with runs_folder=<folder>.")
    if options.uri is not None and not options.uri.startswith(("http://", "https://")):
        raise ConfigError(
            f"uri: expected the http:// or https:// address of a tracking server, got {options.uri}. Records for a "
            "store that is a file go to the path at which their run began."
        )
    waiting = 0
    failures: list[str] = []
    for lines in sorted(folder.glob("*/spool.jsonl")):
        name = lines.parent.name
        try:
            run = _opened(lines.parent)
            count = 0 if run is None else len(run.spool.waiting())
            if run is None or not count:
                continue
            waiting += 1
            name = f"{run.id} ({run.name})"
            with run.alone():
                _refuse_unnamed_server(run, options.uri)
                run.deliver(connect(run.uri))
            print(f"{name}: delivered {count} records to {run.uri}", flush=True)
        except RunInUseError:
            print(f"{name}: skipped, since it is being trained and delivers its records itself", flush=True)
        except Exception as error:  # the store's driver may raise anything; continue with the other runs
            failures.append(f"{name}: {error}")
    if failures:
        raise TrackingError(
            "some records could not be delivered and are kept:\n" + "\n".join(f"  - {failure}" for failure in failures)
        )
    if not waiting:
        print(f"All records in {folder.absolute()} have been delivered.")


def _opened(folder: Path) -> TrackedRun | None:
    """A run by its folder; None if a full disk has kept it from its first record, so that it has none to deliver."""
    try:
        return TrackedRun.open(folder)
    except TrackingError:
        return None


def _refuse_unnamed_server(run: TrackedRun, uri: str | None) -> None:
    """Raise if a run names a server that the user has not: a foreign folder could name one to obtain credentials."""
    if run.uri.startswith("sqlite:") or run.uri.rstrip("/") == (uri or "").rstrip("/"):
        return
    raise TrackingError(f"its store is {run.uri}. If you trust this server, type: facelab sync uri={run.uri}")
