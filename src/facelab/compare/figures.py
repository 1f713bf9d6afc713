"""Charts of a comparison, as SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from facelab.compare.html import svg
from facelab.compare.recorded import Curve
from facelab.compare.shown import short
from facelab.metrics import Metric

_WIDTH_INCHES = 7.0
_GRID_POINTS = 200
_LOG_FROM_RATIO = 20  # highest / lowest value from which an axis can be logarithmic
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#222222")


@dataclass(frozen=True)
class Band:
    """Learning curves of several runs, drawn as a mean with a range.

    Args:
        label: the setting that the runs share.
        curves: at least one, each with at least one point (images seen, value), in order.
    """

    label: str
    curves: list[Curve]


@dataclass(frozen=True)
class Dots:
    """A row of a dot plot.

    Args:
        label: of the row.
        values: of the single runs, at least one.
        low: lower end of the 95 % interval; the mean, if there is none.
        high: upper end.
    """

    label: str
    values: Sequence[float]
    low: float
    high: float


def dots(rows: Sequence[Dots], metric: Metric) -> str:
    """Dot plot of means with whiskers for their 95 % intervals over the values of single runs, the first at the top.

    Every interval is in the frame from end to end.

    Args:
        rows: at least one.
        metric: metric of the values.
    """
    figure = Figure(figsize=(_WIDTH_INCHES, 0.9 + 0.28 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for place, row in enumerate(rows):
        axis.plot(row.values, [place] * len(row.values), "o", color="0.6", markersize=3, alpha=0.6)
        axis.plot([row.low, row.high], [place, place], "|-", color=COLOURS[0], markersize=7)
        axis.plot([float(np.mean(row.values))], [place], "o", color=COLOURS[0], markersize=5)
    axis.set_yticks(range(len(rows)), [row.label for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.margins(x=0.05)
    axis.set_xlabel(metric.name)
    axis.grid(axis="x", alpha=0.3)
    axis.xaxis.set_major_locator(MaxNLocator(6))
    if metric.unit == "share":
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    return svg(figure)


def learning_curves(bands: Sequence[Band], metric: Metric, title: str) -> str:
    """Line chart of each band's mean curve, with a shaded range from its lowest to its highest curve.

    Args:
        bands: one to eight, the number of distinct colours.
        metric: metric of the values.
        title: above the chart.
    """
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axis = figure.subplots()
    for band, colour in zip(bands, COLOURS, strict=False):
        images, mean, low, high = envelope(band.curves)
        label = f"{band.label} ({len(band.curves)} runs)" if len(band.curves) > 1 else band.label
        axis.plot(images, mean, color=colour, linewidth=1.8, label=label, marker="o" if len(images) == 1 else "")
        axis.fill_between(images, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.set(xlabel="images seen", ylabel=metric.name, title=title)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.grid(alpha=0.3)
    if metric.unit == "share":
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.legend(fontsize=8, frameon=False)
    return svg(figure)


def envelope(curves: Sequence[Curve]) -> tuple[NDArray[np.float64], ...]:
    """Mean and range of curves over images seen. Each curve is interpolated within its own range.

    Args:
        curves: as in `Band`.

    Returns:
        Images seen, mean, lowest and highest value: four arrays of one length.
    """
    steps = np.unique([step for curve in curves for step, _ in curve]).astype(np.float64)
    if len(steps) > _GRID_POINTS:
        steps = np.linspace(steps[0], steps[-1], _GRID_POINTS)
    rows = []
    for curve in curves:
        own = np.asarray(curve, dtype=np.float64)
        rows.append(np.interp(steps, own[:, 0], own[:, 1], left=np.nan, right=np.nan))
    values = np.stack(rows)
    there = np.isfinite(values).any(axis=0)
    values = values[:, there]
    return steps[there], np.nanmean(values, 0), np.nanmin(values, 0), np.nanmax(values, 0)


def importance(shares: Mapping[str, float]) -> str:
    """Bar chart of parameter importances, in the given order.

    Args:
        shares: importance by parameter, summing to 1.
    """
    figure = Figure(figsize=(_WIDTH_INCHES, 0.8 + 0.3 * len(shares)), layout="constrained")
    axis = figure.subplots()
    axis.barh(range(len(shares)), list(shares.values()), color="#4477aa", height=0.6)
    axis.set_yticks(range(len(shares)), list(shares))
    axis.set_ylim(len(shares) - 0.5, -0.5)
    axis.set_xlabel("importance")
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(axis="x", alpha=0.3)
    return svg(figure)


def parallel_coordinates(
    points: Sequence[Mapping[str, str]], values: Sequence[float], metric: Metric, lowest_first: bool
) -> str:
    """Parallel coordinates: a line for each trial through its parameter values, darker for better trials.

    Args:
        points: each trial's values by parameter, as text; the same parameters in each.
        values: of the metric, finite.
        metric: metric of the values.
        lowest_first: whether lower is better.
    """
    names = list(points[0])
    columns = [_heights([point[name] for point in points]) for name in names]
    columns.append(_heights([repr(value) for value in values]))
    heights = np.stack([heights for heights, _ in columns], axis=1)
    order = np.argsort(values)
    if lowest_first:
        order = order[::-1]
    shade = np.empty(len(values))
    shade[order] = np.linspace(0, 1, len(values)) if len(values) > 1 else 1.0
    figure = Figure(figsize=(_WIDTH_INCHES, 3.8), layout="constrained")
    axis = figure.subplots()
    colours = mpl.colormaps["viridis_r"](shade[order])
    colours[:, 3] = 0.05 + 0.85 * shade[order] ** max(1.0, len(values) / 50)  # among many trials, fade all but the best
    lines = [np.column_stack([np.arange(len(columns)), heights[trial]]) for trial in order]
    axis.add_collection(LineCollection(lines, colors=colours, linewidths=1))
    for position, (_, ticks) in enumerate(columns):
        axis.axvline(position, color="0.3", linewidth=0.8)
        for height, text in ticks:
            box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8}
            axis.text(position, height, f" {text}", fontsize=7, va="center", ha="left", bbox=box)
    axis.set_xticks(range(len(columns)), [*map(short, names), metric.name])
    axis.set(yticks=[], xlim=(-0.1, len(columns) - 0.65), ylim=(-0.06, 1.06))
    axis.spines[["left", "right", "top", "bottom"]].set_visible(False)
    return svg(figure)


def optimisation(trials: Sequence[int], values: Sequence[float], metric: Metric, lowest_first: bool) -> str:
    """Optimisation history: each trial's value, and the best so far.

    Args:
        trials: trial numbers, ascending.
        values: of the metric, finite.
        metric: metric of the values.
        lowest_first: whether lower is better.
    """
    figure = Figure(figsize=(_WIDTH_INCHES, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(trials, values, "o", color="#4477aa", markersize=4, alpha=0.7, label="trial")
    best = (np.minimum if lowest_first else np.maximum).accumulate(np.asarray(values, dtype=np.float64))
    axis.step(trials, best, where="post", color="#ee6677", label="best so far")
    axis.set(xlabel="trial", ylabel=metric.name)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    if metric.unit == "share":
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.legend(fontsize=8, loc="lower right")
    return svg(figure)


def numbers(texts: Sequence[str]) -> list[float] | None:
    """The texts as numbers; None unless all are finite numbers."""
    try:
        found = [float(text) for text in texts]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether values need a logarithmic axis: all positive, over a wide range, and mostly near its lower end."""
    low, high = min(values), max(values)
    return low > 0 and high / low >= _LOG_FROM_RATIO and float(np.median(values)) < (low + high) / 4


def _heights(texts: Sequence[str]) -> tuple[NDArray[np.float64], list[tuple[float, str]]]:
    """Positions in [0, 1] of a parameter's values, and axis ticks as (position, text)."""
    found = numbers(texts)
    if found is None:
        kinds = sorted(set(texts))
        place = {kind: (i / (len(kinds) - 1) if len(kinds) > 1 else 0.5) for i, kind in enumerate(kinds)}
        return np.array([place[text] for text in texts]), [(place[kind], _clipped(kind)) for kind in kinds[:12]]
    values = np.array(found)
    if is_logarithmic(found):
        values = np.log10(values)
    low, high = float(values.min()), float(values.max())
    if high == low:
        return np.full(len(values), 0.5), [(0.5, f"{found[0]:.4g}")]
    scaled = (values - low) / (high - low)
    middle = 10 ** ((low + high) / 2) if is_logarithmic(found) else (low + high) / 2
    return scaled, [(0.0, f"{min(found):.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{max(found):.3g}")]


def _clipped(text: str) -> str:
    return text if len(text) <= 18 else f"{text[:17]}…"
