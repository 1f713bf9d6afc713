"""Report a comparison: tables in the terminal, CSV, Markdown and an HTML page."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from facelab.compare.page import page
from facelab.compare.table import Group, Study, best_groups, cells, comparison_cells, comparisons, study_of_sweep
from facelab.compare.written import COMPARISON_HEADINGS, as_csv, as_markdown, provenance
from facelab.errors import ConfigError, TrackingError
from facelab.tracking import ChildRow, Store, SweepRow, children, histories, keep_report, recorded_images

_SHOWN_GROUPS = 40
_SHOWN_TRIALS = 10
_SHOWN_REMARKS = 20
_SHOWN_COLUMNS = 6
_SHOWN_CHARACTERS = 24
_GAP = 2  # between the columns of a table


def report(store: Store, sweep: SweepRow, runs_folder: Path, console: Console) -> Path:
    """Compare the runs of a sweep, as `facelab compare` does; none of them needs to have finished.

    Args:
        store: where the sweep is recorded.
        sweep: the parent run.
        runs_folder: where runs keep their files; tables and page go to the sweep's own folder there.
        console: where to print.

    Returns:
        Path of the page.

    Raises:
        ConfigError: the folder cannot be written.
        TrackingError: the store cannot be read.
    """
    study = study_of_sweep(sweep, children(store, sweep.id), None)
    return write_report(store, sweep, study, runs_folder / sweep.id, runs_folder, console)


def write_report(store: Store, sweep: SweepRow, study: Study, out: Path, runs_folder: Path, console: Console) -> Path:
    """Print the study, write its files, and attach them to the sweep's parent run; returns the page."""
    print_study(console, study)
    files = write_files(store, study, out, runs_folder, console)
    try:
        keep_report(store, sweep.id, files, as_markdown(study))
    except TrackingError as error:
        text = f"The report could not be attached to the sweep's run in MLflow: {error}"
        console.print(Text(text), style="yellow", soft_wrap=True)
    return files[-1]


def write_files(store: Store, study: Study, out: Path, runs_folder: Path, console: Console) -> list[Path]:
    """Write CSV, Markdown and HTML page; returns their paths in this order."""

    def images(run: ChildRow, names: Sequence[str]) -> dict[str, bytes]:
        here = {name: file.read_bytes() for name in names if (file := _file(runs_folder / run.id, name)) is not None}
        return here or recorded_images(store, run.id, names)

    texts = {
        "comparison.csv": as_csv(study),
        "comparison.md": as_markdown(study),
        "comparison.html": page(study, lambda ids, metric: histories(store, ids, metric), images),
    }
    out = out.absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"out: {out} cannot be written ({error}). Choose another folder with out=<folder>."
        ) from error
    console.print(Text(f"  page     {out / 'comparison.html'}"), soft_wrap=True)
    console.print("  tables   comparison.csv, comparison.md", highlight=False)
    return [out / name for name in texts]


def _file(folder: Path, name: str) -> Path | None:
    """A run's image of that name, or the last one in the folder of that name."""
    single = folder / f"{name}.png"
    found = [single] if single.is_file() else sorted((folder / name).glob("*.png"))
    return found[-1] if found else None


def print_study(console: Console, study: Study) -> None:
    """Print the table of groups, the paired comparisons and the remarks."""
    groups = best_groups(study, study.groups, _SHOWN_GROUPS if study.search is None else _SHOWN_TRIALS)
    if groups:
        console.print(_table(study, groups, console.width))
    if len(groups) < len(study.groups):
        console.print(f"The best {len(groups)} of {len(study.groups)} rows; comparison.csv has all.")
    console.print(Text(provenance(study)), style="dim")
    compared = comparisons(study)
    if compared:
        table = Table(title=Text(f"paired comparisons of {study.metrics[0]}"), title_justify="left", box=None)
        for name in COMPARISON_HEADINGS:
            table.add_column(name, justify="left" if name in COMPARISON_HEADINGS[:2] else "right")
        for comparison in compared[:_SHOWN_GROUPS]:
            table.add_row(*map(Text, comparison_cells(study, comparison)))
        console.print(table)
    print_remarks(console, study)


def _table(study: Study, groups: Sequence[Group], width: int) -> Table:
    """A table with as many of the metrics as fit the width, at least one."""
    columns = study.columns[:_SHOWN_COLUMNS]
    rows = [cells(study, group) for group in groups]
    table = Table(title=Text(study.title), title_justify="left", box=None)
    kept = list(range(len(columns)))
    used = 0
    for position, name in enumerate(columns):
        heading = name.replace(".", ".\n")
        widest = max(map(len, [*heading.split("\n"), *(row[position] for row in rows)]))
        used += min(widest, _SHOWN_CHARACTERS) + _GAP
        table.add_column(Text(heading), max_width=_SHOWN_CHARACTERS, overflow="fold")
    left_out = []
    for position, name in enumerate(study.metrics, start=len(study.columns)):
        heading = name.replace("/", "/\n").replace("_over_", "\nover ")
        used += max(map(len, [*heading.split("\n"), *(row[position] for row in rows)])) + _GAP
        if used > width and len(kept) > len(columns):
            left_out.append(name)
            continue
        kept.append(position)
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(row[position]) for position in kept))
    if left_out:
        table.caption = Text(f"Too wide for this terminal; see the page: {', '.join(left_out)}")
        table.caption_justify = "left"
    return table


def print_remarks(console: Console, study: Study) -> None:
    """Print which runs are missing, failed or outdated, and why."""
    for one in study.remarks[:_SHOWN_REMARKS]:
        line = f"  {one.status.lower():<11}{one.name}{f' ({one.id})' if one.id else ''}: {one.reason}"
        console.print(Text(line), style="yellow", soft_wrap=True)
    if len(study.remarks) > _SHOWN_REMARKS:
        console.print(f"  and {len(study.remarks) - _SHOWN_REMARKS} more, on the page", style="yellow")
