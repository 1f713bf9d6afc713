"""Report a comparison: tables in the terminal, CSV, Markdown and an HTML page."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from facelab.compare.answer import PAGE, SHOWN_CHARTS, answer, sweep_note
from facelab.compare.charts import Chart
from facelab.compare.page import page
from facelab.compare.ranking import best_groups
from facelab.compare.recorded import Recorded
from facelab.compare.table import Group, Study, cells, comparison_cells, comparisons, study_of_sweep
from facelab.compare.written import COMPARISON_HEADINGS, as_csv, as_markdown, provenance
from facelab.errors import ConfigError, TrackingError
from facelab.system import replace_files
from facelab.tracking import Store, SweepRow, children, keep_report, run_page

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
    files, charts = write_files(store, study, out, runs_folder, console)
    try:
        text = sweep_note(study, run_page(store, sweep.id), sweep.name, charts)
        keep_report(store, sweep.id, files, {f"{n}.svg": chart.svg for n, chart in enumerate(charts, 1)}, text)
    except TrackingError as error:
        text = f"The report could not be attached to the sweep's run in MLflow: {error}"
        console.print(Text(text), style="yellow", soft_wrap=True)
    return files[-1]


def write_files(
    store: Store, study: Study, out: Path, runs_folder: Path, console: Console
) -> tuple[list[Path], list[Chart]]:
    """Write CSV, Markdown and HTML page; returns their paths in this order, and the most telling charts."""
    found = page(study, Recorded(store, runs_folder))
    texts = {"comparison.csv": as_csv(study), "comparison.md": as_markdown(study, answer(study)), PAGE: found.html}
    out = out.absolute()
    try:
        replace_files({out / name: text.encode() for name, text in texts.items()})
    except OSError as error:
        raise ConfigError(
            f"out: {out} cannot be written ({error}). Choose another folder with out=<folder>."
        ) from error
    console.print(Text(f"  page     {out / PAGE}"), soft_wrap=True)
    console.print("  tables   comparison.csv, comparison.md", highlight=False)
    return [out / name for name in texts], found.charts[:SHOWN_CHARTS]


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
    if answer(study):
        console.print(Text(answer(study)), style="bold", soft_wrap=True)
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
