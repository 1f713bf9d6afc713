"""A study's figures."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from facelab.compare.figures import COLOURS
from facelab.compare.html import svg
from facelab.studies.grid import Grid, Pair
from facelab.studies.registration import Registration
from facelab.studies.rules import Found, points

_MARKERS = "osD^v"


def accuracy_figure(plan: Registration, grid: Grid) -> str:
    """Means of every arm over the conditions, with bands of their 95 % intervals, as SVG."""
    drawing = Figure(figsize=(7.0, 4.4), layout="constrained")
    axis = drawing.subplots()
    places = _places(grid.conditions)
    for number, arm in enumerate(grid.arms):
        known = [(at, one) for at, c in zip(places, grid.conditions, strict=True) if (one := grid.estimate(arm, c))]
        if known:
            at, means = [at for at, _ in known], [one.mean for _, one in known]
            ends = [one.half_width or 0 for _, one in known]
            colour = COLOURS[number % len(COLOURS)]
            axis.plot(
                at, means, f"{_MARKERS[number // len(COLOURS)]}-", color=colour, markersize=4, label=plan.name(arm)
            )
            low, high = ([m + s * e for m, e in zip(means, ends, strict=True)] for s in (-1, 1))
            axis.fill_between(at, low, high, color=colour, alpha=0.12, linewidth=0)
    axis.set_xticks(places, list(grid.conditions))
    axis.set(xlabel=plan.condition, ylabel=plan.metric)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(alpha=0.3)
    drawing.legend(loc="outside right upper", fontsize=8, frameon=False)
    return svg(drawing)


def difference_figure(plan: Registration, grid: Grid) -> str:
    """The deciding differences with their 95 % intervals, a panel for each condition, as SVG."""
    pairs = plan.rule.pairs(grid.conditions)
    found = grid.differences(pairs)
    lines = list(dict.fromkeys((first, second) for first, second, _ in pairs))
    size = (2.2 + 2.2 * len(grid.conditions), 1.0 + 0.3 * len(lines))
    drawing = Figure(figsize=size, layout="constrained")
    panels = drawing.subplots(1, len(grid.conditions), sharex=True, sharey=True, squeeze=False)[0]
    for condition, panel in zip(grid.conditions, panels, strict=True):
        _panel(panel, [(first, second, condition) for first, second in lines], found)
        panel.set_title(f"{plan.condition}={condition}", fontsize=9)
        panel.set_xlabel("points, 95 % intervals", fontsize=8)
    panels[0].set_yticks(range(len(lines)), [f"{plan.name(a)} less {plan.name(b)}" for a, b in lines], fontsize=8)
    panels[0].set_ylim(len(lines) - 0.5, -0.5)
    return svg(drawing)


def _panel(panel: Axes, pairs: Sequence[Pair], found: Found) -> None:
    panel.axvline(0, color="0.4", linewidth=0.8)
    for row, pair in enumerate(pairs):
        difference, _ = found[pair]
        if difference is not None:
            low, mean, high = points(difference)
            panel.plot([low, high], [row, row], "-", color=COLOURS[0], linewidth=1.5)
            panel.plot(mean, row, "o", color=COLOURS[0], markersize=4)
    panel.grid(axis="x", alpha=0.3)


def _places(conditions: Sequence[str]) -> list[float]:
    """Where conditions stand on the axis: at their numbers, or one after the other if they are none."""
    try:
        return [float(condition) for condition in conditions]
    except ValueError:
        return [float(number) for number in range(len(conditions))]
