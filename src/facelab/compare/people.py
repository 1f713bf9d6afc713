"""How well each person, or each class, is recognised by several settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from facelab.compare.figures import COLOURS
from facelab.compare.html import svg
from facelab.compare.recorded import Recorded
from facelab.compare.table import Group

FILE = "predictions.csv"
_MOST_RUNS = 3  # of a group, whose test images are counted together
_NAMED = 20
_NAME_CHARACTERS = 30
_MARKERS = "os^D"


@dataclass(frozen=True)
class PerClass:
    """Test results of a setting by class.

    Args:
        label: of the setting.
        runs: number of runs that are counted together.
        right: number of correctly classified test images by class.
        total: number of test images by class.
    """

    label: str
    runs: int
    right: Mapping[str, int]
    total: Mapping[str, int]

    def accuracy(self, name: str) -> float:
        """Share of a class's test images that are classified correctly."""
        return self.right[name] / self.total[name]


def per_class(group: Group, recorded: Recorded) -> PerClass | None:
    """Count the test images of a group's first runs by class; None if they have recorded no predictions."""
    right: dict[str, int] = {}
    total: dict[str, int] = {}
    counted = 0
    for run in group.runs[:_MOST_RUNS]:
        rows = recorded.rows(run, FILE) if "test/accuracy" in run.metrics else []
        counted += bool(rows)
        for row in rows:
            name = row["label"]
            total[name] = total.get(name, 0) + 1
            right[name] = right.get(name, 0) + (row["predicted"] == name)
    return PerClass(group.label, counted, right, total) if total else None


def per_class_accuracy(settings: Sequence[PerClass]) -> str:
    """Accuracy of every class in descending order, and beside it those of the first setting's worst classes by name.

    Args:
        settings: one to four, the best first.
    """
    first = settings[0]
    worst = sorted(first.total, key=lambda name: (*_accuracies(settings, name), -first.total[name], name))[:_NAMED]
    figure = Figure(figsize=(7.0, max(3.4, 0.9 + 0.2 * len(worst))), layout="constrained")
    everyone, named = figure.subplots(1, 2, width_ratios=(1, 1))
    for number, (found, colour) in enumerate(zip(settings, COLOURS, strict=False)):
        values = np.sort([found.accuracy(name) for name in found.total])[::-1]
        mean = float(values.mean())
        everyone.step(np.arange(1, len(values) + 1), values, where="mid", color=colour)
        rows = [row for row, name in enumerate(worst) if name in found.total]
        shares = [found.accuracy(worst[row]) for row in rows]
        label = f"{found.label}, mean {mean:.1%}"
        named.plot(shares, rows, _MARKERS[number % len(_MARKERS)], color=colour, markersize=5, alpha=0.8, label=label)
    names = [f"{name[:_NAME_CHARACTERS]} ({first.total[name]})" for name in worst]
    named.set_yticks(range(len(worst)), names, fontsize=7)
    named.set(ylim=(len(worst) - 0.5, -0.5), xlim=(-0.03, 1.03), title="the worst of the first (test images)")
    everyone.set(ylim=(-0.03, 1.03), xlabel="classes, the best first", title=f"all {len(first.total):,} classes")
    everyone.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    named.xaxis.set_major_formatter(PercentFormatter(1.0))
    everyone.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axis in (everyone, named):
        axis.grid(alpha=0.3)
    columns = 2 if all(len(found.label) <= _NAME_CHARACTERS for found in settings) else 1
    handles, labels = named.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    return svg(figure)


def _accuracies(settings: Sequence[PerClass], name: str) -> list[float]:
    """A class's accuracy by each setting; 1 where it has no test image."""
    return [found.accuracy(name) if name in found.total else 1.0 for found in settings]
