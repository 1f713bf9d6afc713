"""Print the results at the end of a run."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from facelab.protocols.base import Report
from facelab.tracking import TrackedRun


def print_summary(console: Console, reports: Sequence[Report], tracked: TrackedRun, said: Mapping[str, str]) -> None:
    """Print a table for each report, and where to find the run's files and page.

    Args:
        console: where to print.
        reports: of the protocols.
        tracked: the run in MLflow.
        said: further lines by their first word, such as `trained`: the length of the training.
    """
    for report in reports:
        table = Table()
        for number, heading in enumerate(report.table.columns):
            table.add_column(
                Text(heading), justify="right" if number else "left", style="bold" if number == 1 else None
            )
        for row in report.table.rows:
            table.add_row(*map(Text, row))
        console.print()
        # A table's own title would be wrapped to the table's width.
        console.print(Text(f"{tracked.name}: {report.table.title}"), style="italic", soft_wrap=True)
        console.print(table)
        for note in report.notes:
            console.print(f"Note: {note}", highlight=False, soft_wrap=True, markup=False)
    lines = {
        **said,
        "run": f"{tracked.id} in {tracked.uri}",
        "files": str(tracked.folder),
        "look": "make ui   (or: facelab ui)",
    }
    for key, value in lines.items():
        console.print(Text(f"  {key:<9}{value}"), soft_wrap=True)
