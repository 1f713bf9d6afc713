"""A ROC curve as a small table, so that the curves of several runs can be drawn in one plot."""

import numpy as np

from facelab.metrics.verification import Roc
from facelab.protocols.operating_points import FARS

_POINTS = 200


def roc_rows(curve: Roc) -> list[list[object]]:
    """Rows of `far`, `tar` and `threshold`, FAR ascending from 0 to 1, at most about 400 of them.

    They are points of the curve: for FARs spaced evenly, on a linear and on a logarithmic scale, and for those of
    `FARS`, the point with the highest FAR that does not exceed it. So `tar` is exact there, and nowhere too high.
    """
    far = curve.far.numpy()
    least = float(far[far > 0].min())
    wanted = np.concatenate([[0.0], np.geomspace(least, 1, _POINTS), np.linspace(0, 1, _POINTS), FARS])
    places = np.unique(np.searchsorted(far, wanted, side="right") - 1)
    columns = (far[places], curve.tar.numpy()[places], curve.threshold.numpy()[places])
    rows: list[list[object]] = [[float(value) for value in row] for row in zip(*columns, strict=True)]
    return [["far", "tar", "threshold"], *rows]
