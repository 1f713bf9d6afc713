"""Plots of identification as images (H, W, 3) uint8."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from facelab.metrics.identification import OpenSetCurve
from facelab.protocols.plots import Plot, drawn

_MOST_RANKS = 100
_LEAST_FNIR = 1e-3  # smaller values are drawn here, on a logarithmic axis


def cmc_curve(shares: NDArray[np.float64], title: str) -> Plot:
    """A CMC curve: the share of mated searches whose right person is within rank k, for k up to 100.

    Args:
        shares: (G,) in [0, 1], from rank 1 on.
        title: title above the plot.
    """
    shown = shares[:_MOST_RANKS]
    figure = Figure(figsize=(6, 5), dpi=100, layout="constrained")
    axis = figure.subplots()
    axis.plot(np.arange(1, len(shown) + 1), shown, marker="o" if len(shown) <= 30 else "", markersize=4)
    axis.annotate(f"rank 1: {shown[0]:.1%}", (1, shown[0]), xytext=(8, -12), textcoords="offset points")
    axis.set(xlabel="rank", ylabel="share of searches within the rank", title=title, ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    return drawn(figure)


def fnir_over_fpir(
    curve: OpenSetCurve,
    read: Mapping[str, tuple[float, float]],
    frozen: Mapping[str, tuple[float, float]],
    title: str,
) -> Plot:
    """FNIR over FPIR on logarithmic scales, as NIST plots identification errors.

    Args:
        curve: of the test.
        read: (FPIR, FNIR) of operating points whose threshold is read on the test, by their caption.
        frozen: (FPIR, FNIR) of operating points whose threshold comes from other people, by their caption.
        title: title above the plot.
    """
    fpir, fnir = curve.fpir.numpy(), np.maximum(curve.fnir.numpy(), _LEAST_FNIR)
    least = float(fpir[fpir > 0].min()) / 2 if (fpir > 0).any() else 1e-2
    lowest = 10.0 ** np.floor(np.log10(float(fnir.min())))
    figure = Figure(figsize=(6, 5), dpi=100, layout="constrained")
    axis = figure.subplots()
    axis.step(np.maximum(fpir, least), fnir, where="post")
    for points, marker, colour, legend in (
        (read, "o", "0.2", "threshold read on the test"),
        (frozen, "D", "tab:red", "threshold frozen on validation people"),
    ):
        places = [(max(x, least), max(y, _LEAST_FNIR)) for x, y in points.values()]
        if places:
            axis.plot(*zip(*places, strict=True), marker, color=colour, label=legend)
        for caption, place in zip(points, places, strict=True):
            axis.annotate(caption, place, xytext=(-6, -10), textcoords="offset points", fontsize=7, ha="right")
    axis.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(lowest, 1.1), title=title)
    axis.set(xlabel="false positive identification rate (FPIR)", ylabel="false negative identification rate (FNIR)")
    axis.grid(alpha=0.3, which="both")
    if read or frozen:
        axis.legend(loc="lower left", fontsize=8)
    return drawn(figure)
