"""Plots of verification: ROC, DET, a page that sums it up, and the hardest pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import norm

from facelab.data.faces import FaceSet
from facelab.metrics.verification import Roc
from facelab.protocols.intervals import ScoredPairs
from facelab.protocols.plots import Plot, drawn, face_grid

SHOWN_PAIRS = 12  # of each kind
_TICKS = np.array([1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6])


def roc_curve(curve: Roc, auc: float, eer: float, marked: Sequence[float]) -> Plot:
    """ROC curve: TAR over FAR on a logarithmic scale, as usual for face verification.

    Args:
        curve: the operating points.
        auc: area under the curve, in [0, 1].
        eer: equal error rate, in [0, 1].
        marked: FARs to mark with lines.
    """
    figure = Figure(figsize=(6, 5), dpi=100)
    _roc(figure.add_axes((0.11, 0.1, 0.86, 0.83)), curve, eer, marked, f"verification of unseen people, AUC {auc:.3f}")
    return drawn(figure)


def det_curve(curve: Roc, eer: float) -> Plot:
    """DET curve: FNMR over FMR, both on the scale of normal deviates.

    Martin, Doddington, Kamm, Ordowski and Przybocki, "The DET curve in assessment of detection task performance", 1997.

    Args:
        curve: the operating points.
        eer: equal error rate, in [0, 1].
    """
    figure = Figure(figsize=(6, 5.6), dpi=100)
    axis: Any = figure.add_axes((0.12, 0.09, 0.85, 0.86))
    fmr, fnmr = curve.far.numpy(), 1 - curve.tar.numpy()
    least = max(1e-6, float(min(values[values > 0].min(initial=1e-2) for values in (fmr, fnmr))) / 2)
    x, y = (norm.ppf(np.clip(values, least, 1 - least)) for values in (fmr, fnmr))
    axis.plot(x, y, drawstyle="steps-post")
    axis.plot(*[norm.ppf(np.clip(eer, least, 1 - least))] * 2, "o", color="0.3", label=f"equal error rate {eer:.1%}")
    ticks = _TICKS[least <= _TICKS]
    labels = [f"{tick:.3g}" for tick in ticks]
    axis.set_xticks(norm.ppf(ticks), labels)
    axis.set_yticks(norm.ppf(ticks), labels)
    limits = (norm.ppf(least), norm.ppf(0.65))
    axis.set(xlim=limits, ylim=limits, aspect="equal")
    axis.set(xlabel="false match rate (FMR)", ylabel="false non-match rate (FNMR)", title="detection error trade-off")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left")
    return drawn(figure)


def page(
    lines: Sequence[str],
    genuine: ScoredPairs,
    impostor: ScoredPairs,
    curve: Roc,
    eer: float,
    marked: Sequence[float],
    threshold: float | None,
) -> Plot:
    """One page: what was compared and found, in words, over the distributions of scores and the ROC curve.

    Args:
        lines: sentences and figures.
        genuine: pairs of one person each.
        impostor: pairs of two people each.
        curve: the operating points of both.
        eer: equal error rate, in [0, 1].
        marked: FARs to mark with lines.
        threshold: to mark among the scores; None for none.
    """
    words, height = 0.2 * len(lines) + 0.2, 3.6  # inches
    figure = Figure(figsize=(8.3, words + height), dpi=100)
    figure.text(0.03, 1 - 0.12 / (words + height), "\n".join(lines), va="top", fontsize=9, linespacing=1.4)
    # Placed by hand, since a computed layout takes most of the time of the whole evaluation.
    bottom, tall = 0.5 / (words + height), 2.7 / (words + height)
    scores, operating = (figure.add_axes((left, bottom, 0.4, tall)) for left in (0.07, 0.57))
    both = np.concatenate([genuine.scores, impostor.scores])
    edges = np.linspace(both.min(), both.max() + 1e-9, 60)
    for pairs, label, colour in ((impostor, "impostor", "tab:red"), (genuine, "genuine", "tab:blue")):
        scores.hist(pairs.scores, edges.tolist(), density=True, alpha=0.5, label=label, color=colour)
    if threshold is not None:
        scores.axvline(threshold, color="0.2", linestyle="--", linewidth=1, label=f"threshold {threshold:.3f}")
    scores.set(xlabel="score", ylabel="density", title="scores of pairs")
    scores.legend(fontsize=8)
    _roc(operating, curve, eer, marked, "operating points")
    return drawn(figure)


def hardest_pairs(
    faces: FaceSet, genuine: NDArray[np.int64], impostor: NDArray[np.int64], scores: Sequence[float]
) -> Plot:
    """The genuine pairs with the lowest and the impostor pairs with the highest scores.

    Args:
        faces: the face set.
        genuine: (G, 2) indices of images, hardest first.
        impostor: (I, 2) likewise.
        scores: G + I of these pairs.
    """
    kinds = ["one person"] * len(genuine) + ["two people"] * len(impostor)
    images = [
        np.concatenate([np.broadcast_to(faces.pixels[int(i)], _colour(faces)) for i in pair], axis=1)
        for pair in np.concatenate([genuine, impostor])
    ]
    captions = [f"{kind}, {score:.2f}" for kind, score in zip(kinds, scores, strict=True)]
    title = f"hardest pairs: {len(genuine)} genuine with low scores, then {len(impostor)} impostor with high scores"
    return face_grid(images, captions, columns=6, title=title)


def _roc(axis: Any, curve: Roc, eer: float, marked: Sequence[float], title: str) -> None:
    far, tar = curve.far.numpy(), curve.tar.numpy()
    least = float(far[far > 0].min()) if (far > 0).any() else 1e-3
    axis.step(np.maximum(far, least / 2), tar, where="post")
    for rate in marked:
        axis.axvline(rate, color="0.6", linestyle=":", linewidth=1)
    axis.plot([eer], [1 - eer], "o", color="0.3", label=f"equal error rate {eer:.1%}")
    axis.set(xscale="log", xlim=(least / 2, 1), ylim=(0, 1.01), xlabel="false accept rate (FAR)")
    axis.set(ylabel="true accept rate (TAR)", title=title)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=8)


def _colour(faces: FaceSet) -> tuple[int, int, int]:
    _, height, width = faces.image_shape
    return height, width, 3
