"""ROC curves of several settings in one plot."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from facelab.compare.figures import COLOURS
from facelab.compare.html import svg
from facelab.compare.recorded import Recorded
from facelab.compare.table import Group

FILE = "roc.csv"
AUC = "verification/auc"
_MOST_RUNS = 3  # of a group
_POINTS = 300

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class RocBand:
    """ROC curves of a setting's runs.

    Args:
        label: of the setting.
        auc: mean area under the curves.
        curves: at least one; FAR and TAR (P,) each, both ascending from 0 to 1.
    """

    label: str
    auc: float
    curves: list[Points]


def roc_band(group: Group, recorded: Recorded) -> RocBand | None:
    """Curves of a group's first runs; None if they have recorded none."""
    having = [run for run in group.runs if AUC in run.metrics][:_MOST_RUNS]
    tables = [(run, rows) for run in having if (rows := recorded.rows(run, FILE))]
    if not tables:
        return None
    curves = [tuple(np.array([float(row[name]) for row in rows]) for name in ("far", "tar")) for _, rows in tables]
    mean = float(np.mean([run.metrics[AUC] for run, _ in tables]))
    return RocBand(group.label, mean, [(far, tar) for far, tar in curves])


def roc_curves(bands: Sequence[RocBand]) -> str:
    """Mean ROC curve of each setting, with a shaded range from its lowest to its highest run; FAR is logarithmic.

    Args:
        bands: one to eight, the number of distinct colours.
    """
    positive = [far[far > 0].min() for band in bands for far, _ in band.curves]
    least = float(max(min(positive), 1e-6))
    rates = np.geomspace(least, 1, _POINTS)
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    axis = figure.subplots()
    for band, colour in zip(bands, COLOURS, strict=False):
        values = np.stack([tar_at(rates, far, tar) for far, tar in band.curves])
        runs = f", {len(values)} runs" if len(values) > 1 else ""
        axis.step(rates, values.mean(0), where="post", color=colour, label=f"{band.label} (AUC {band.auc:.3f}{runs})")
        axis.fill_between(rates, values.min(0), values.max(0), step="post", color=colour, alpha=0.15, linewidth=0)
    axis.set(xscale="log", xlim=(least, 1), ylim=(0, 1.01))
    axis.set(xlabel="false accept rate (FAR)", ylabel="true accept rate (TAR)")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=8)
    return svg(figure)


def tar_at(rates: NDArray[np.float64], far: NDArray[np.float64], tar: NDArray[np.float64]) -> NDArray[np.float64]:
    """TAR at each rate: that of the recorded point with the highest FAR that does not exceed it.

    Args:
        rates: (R,) in [0, 1].
        far: (P,) ascending from 0.
        tar: (P,).
    """
    found: NDArray[np.float64] = tar[np.searchsorted(far, rates * (1 + 1e-12), side="right") - 1]
    return found
