"""What is printed at the end of a run."""

from rich.console import Console
from rich.table import Table

from facelab.metrics.classification import NAMES
from facelab.protocols.base import Report
from facelab.tracking import TrackedRun

_TITLES = {"accuracy": "accuracy", "precision": "precision (macro)", "recall": "recall (macro)", "f1": "F1 (macro)"}


def print_summary(console: Console, report: Report, tracked: TrackedRun, trained: str) -> None:
    """A table of the test metrics, and where to look further.

    Args:
        console: where to print.
        report: of the protocol.
        tracked: the run in MLflow.
        trained: how long, and which weights were kept.
    """
    table = Table(title=f"{tracked.name}: test faces", title_justify="left")
    table.add_column("")
    table.add_column("test", justify="right", style="bold")
    table.add_column("95 % interval", justify="right")
    table.add_column("probe", justify="right")
    table.add_column("1-NN", justify="right")
    for name in NAMES:
        low, high = report.intervals[f"test/{name}"]
        neighbour = report.metrics.get(f"knn/{name}")
        table.add_row(
            _TITLES[name],
            f"{report.metrics[f'test/{name}']:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{report.metrics[f'probe/{name}']:.1%}",
            "" if neighbour is None else f"{neighbour:.1%}",
        )
    console.print()
    console.print(table)
    lines = {
        "trained": trained,
        "run": f"{tracked.id} in {tracked.uri}",
        "files": str(tracked.folder),
        "look": "make ui   (or: facelab ui)",
    }
    for key, value in lines.items():
        console.print(f"  {key:<9}{value}", highlight=False, soft_wrap=True)
