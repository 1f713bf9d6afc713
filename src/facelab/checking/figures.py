"""Charts of the images of a face set, as SVG. They show no names, which matplotlib might read as formulas."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from facelab.compare.html import svg

_BLUE, _RED = "#4477aa", "#ee6677"
_LOG_FROM_RATIO = 20
_BINS = 60
_DECADES = 100


def class_sizes(sizes: NDArray[np.int64]) -> str:
    """Bars of the number of images of each class, the largest class first.

    Args:
        sizes: (C,) each at least 1.
    """
    ordered = np.sort(sizes)[::-1]
    figure = Figure(figsize=(7.0, 2.4), layout="constrained")
    axis = figure.subplots()
    # One path: thousands of bars would make the page slow.
    edges = np.arange(len(ordered) + 1) + 0.5
    logarithmic = ordered[0] >= _LOG_FROM_RATIO * ordered[-1]
    axis.stairs(ordered, edges, fill=True, color=_BLUE, baseline=0.5 if logarithmic else 0)
    if logarithmic:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.set(xlabel="class, the largest first", ylabel="images", xlim=(edges[0], edges[-1]))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.grid(axis="y", alpha=0.3)
    return svg(figure)


def image_sizes(width: NDArray[np.uint32], height: NDArray[np.uint32], image_size: int) -> str:
    """Scatter plot of widths and heights, larger dots for more images, with lines at the size for training.

    Args:
        width: (N,) in pixels.
        height: (N,) in pixels.
        image_size: side of the images in training, in pixels.
    """
    sizes, counts = np.unique(np.stack([width, height], axis=1), axis=0, return_counts=True)
    figure = Figure(figsize=(4.2, 3.4), layout="constrained")
    axis = figure.subplots()
    area = 8 + 120 * counts / counts.max()
    axis.scatter(sizes[:, 0], sizes[:, 1], s=area, alpha=0.5, color=_BLUE, edgecolors="none", rasterized=True)
    for line in (axis.axvline, axis.axhline):
        line(image_size, color=_RED, linestyle="--", linewidth=1)
    if sizes.max() >= _LOG_FROM_RATIO * min(sizes.min(), image_size):
        axis.loglog()
    axis.set(xlabel="width in pixels", ylabel="height in pixels")
    axis.grid(alpha=0.3)
    return svg(figure)


def histogram(values: NDArray[np.float32], label: str, logarithmic: bool = False) -> str:
    """Number of images by value.

    Args:
        values: (N,) at least one; at least 0.
        label: of the axis.
        logarithmic: whether the axis is; zeros are then counted in the lowest bin.
    """
    figure = Figure(figsize=(4.2, 2.6), layout="constrained")
    axis = figure.subplots()
    if logarithmic:
        values = np.maximum(values, 0.1)
        low, high = np.log10(values.min()), np.log10(values.max())
        edges = np.logspace(low - 0.05, high + 0.05, _BINS + 1)
    else:
        edges = np.linspace(0, 255, _BINS + 1)
    counts, _ = np.histogram(values, edges)
    axis.stairs(counts, edges, fill=True, color=_BLUE)
    axis.set(xlabel=label, ylabel="images", xlim=(edges[0], edges[-1]))
    if logarithmic:
        _label_logarithmic(axis)
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.grid(axis="y", alpha=0.3)
    return svg(figure)


def _label_logarithmic(axis: Axes) -> None:
    """A logarithmic axis of x with few labels, which would overlap."""
    low, high = axis.get_xlim()
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1,) if high > _DECADES * low else (1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:,g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
