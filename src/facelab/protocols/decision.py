"""Decisions of verification at thresholds that were chosen on other pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelab.metrics.verification import best_threshold
from facelab.protocols.scored import Scored


@dataclass(frozen=True)
class Decision:
    """Decisions at a threshold that was not chosen on the pairs it judges.

    Args:
        thresholds: of each genuine pair, and of each impostor pair.
        source: where the thresholds come from, in words.
        standard_error: of the mean balanced accuracy over folds; None without folds.
    """

    thresholds: tuple[NDArray[np.float32], NDArray[np.float32]]
    source: str
    standard_error: float | None = None

    @property
    def mean(self) -> float:
        """Mean threshold."""
        return float(np.mean(np.concatenate(self.thresholds)))

    def accuracy(self, scored: Scored) -> float:
        """Balanced accuracy on the pairs, in [0, 1]."""
        kinds = scored.genuine.pairs.scores, scored.impostor.pairs.scores
        accepted = [scores >= limits for scores, limits in zip(kinds, self.thresholds, strict=True)]
        return float(accepted[0].mean() + 1 - accepted[1].mean()) / 2


def decide(scored: Scored, development: Scored | None) -> Decision | None:
    """Thresholds from the other folds, else from the development pairs; None if there are neither."""
    kinds = scored.genuine, scored.impostor
    if len(scored.folds) > 1:
        chosen = {fold: scored.threshold_of_others(fold) for fold in scored.folds}
        source = f"{len(chosen)} folds, each judged at the threshold that is best on all others"
    elif development is not None:
        chosen = {scored.folds[0]: best_threshold(development.curve())}
        source = (
            f"best on {development.genuine.counted} genuine and {development.impostor.counted} impostor pairs of "
            f"validation people ({development.where})"
        )
    else:
        return None
    thresholds = [np.array([chosen[int(fold)] for fold in kind.fold], np.float32) for kind in kinds]
    right = [kind.pairs.scores >= limits for kind, limits in zip(kinds, thresholds, strict=True)]
    of_fold = [
        np.mean([right[0][kinds[0].fold == fold].mean(), 1 - right[1][kinds[1].fold == fold].mean()]) for fold in chosen
    ]
    error = float(np.std(of_fold, ddof=1) / np.sqrt(len(of_fold))) if len(of_fold) > 1 else None
    return Decision((thresholds[0], thresholds[1]), source, error)
