"""Objects shared by all parts of a running sweep."""

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from facelab.sweep.executor import Place
from facelab.sweep.plan import Plan
from facelab.sweep.settings import SweepSettings
from facelab.tracking import Store


@dataclass(frozen=True)
class Context:
    """Objects shared by all parts of a running sweep.

    Args:
        plan: axes and fixed overrides of the sweep.
        settings: of the sweep.
        place: where its jobs run.
        store: records its runs.
        runs_folder: where runs keep their files; absolute.
        console: where to print.
    """

    plan: Plan
    settings: SweepSettings
    place: Place
    store: Store
    runs_folder: Path
    console: Console

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(Text(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print to the standard error stream."""
        print(text, file=sys.stderr, flush=True)
