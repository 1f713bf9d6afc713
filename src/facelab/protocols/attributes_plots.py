"""Plot of error rates by group as an image (H, W, 3) uint8."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from facelab.protocols.groups import Rate
from facelab.protocols.plots import Plot, drawn

_MOST_BARS = 40


def group_rates(panels: Mapping[str, Sequence[tuple[str, Rate | None]]], title: str) -> Plot:
    """A bar with its interval for each group, the highest first; one panel for each rate.

    Args:
        panels: name and rate of each group, by the name of the rate; at most the 40 highest are shown.
        title: above the panels.
    """
    bars = min(_MOST_BARS, max(len(of) for of in panels.values()))
    figure = Figure(figsize=(max(4.0, 0.35 * bars + 1.5) * len(panels), 4.5), dpi=100, layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels)))
    for axis, (name, groups) in zip(axes, panels.items(), strict=True):
        known = sorted(((text, rate) for text, rate in groups if rate), key=lambda one: -one[1].value)[:bars]
        values = np.array([rate.value for _, rate in known])
        low, high = np.array([rate.interval for _, rate in known]).T
        axis.bar(range(len(known)), values, color="0.75")
        axis.errorbar(range(len(known)), values, [values - low, high - values], fmt="none", ecolor="k", capsize=3)
        axis.set_xticks(range(len(known)), [text for text, _ in known], rotation=90, fontsize=8)
        axis.set(ylabel=name, ylim=(0, None))
        axis.grid(alpha=0.3, axis="y")
    figure.suptitle(title, fontsize=10)
    return drawn(figure)
