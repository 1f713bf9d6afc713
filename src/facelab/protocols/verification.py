"""Verification: are two pictures of one person? Asked of people nobody trained on."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from facelab.data.faces import FaceSet
from facelab.data.split import Splits
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.metrics.verification import Roc, auc, eer, roc, tar_at_far
from facelab.protocols import plots
from facelab.protocols.base import Protocol, Report, Subject, Table
from facelab.protocols.intervals import LEVEL, times_drawn

FAR = 1e-2
_RESAMPLES = 500
_MOST_IMPOSTORS = 1_000_000
_TITLES = {"auc": "area under the ROC curve", "eer": "equal error rate", "tar_at_far_1e-2": "TAR at FAR 1e-2"}


class Verification(Protocol):
    """All pairs of test pictures, scored by the cosine of their embeddings.

    `verification/auc`, `verification/eer` and `verification/tar_at_far_1e-2` (1 - FNMR at FMR 0.01) with 95 % intervals
    from a bootstrap over people, and the ROC curve. Above a million impostor pairs, a million of them are drawn.
    """

    metrics = (
        Metric("verification/auc", _TITLES["auc"], True, "share"),
        Metric("verification/eer", _TITLES["eer"], False, "share", headline=True),
        Metric("verification/tar_at_far_1e-2", _TITLES["tar_at_far_1e-2"], True, "share", headline=True),
        Metric("verification/genuine_pairs", "genuine pairs", True),
        Metric("verification/impostor_pairs", "impostor pairs", True),
        Metric("test/images", "test images", True, "images"),
    )

    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Nobody of the test may be in training or validation, and someone must have two test pictures."""
        known = np.concatenate([splits.train, splits.val])
        shared = np.intersect1d(faces.identities[splits.test], faces.identities[known])
        if len(shared):
            raise ConfigError(
                f"protocol=verification asks about people nobody trained on, but {len(shared)} people of the test are "
                "in training or validation too. Choose split=identity_disjoint, or protocol=classification, which asks "
                "about people who were trained on."
            )
        people, counts = np.unique(faces.identities[splits.test], return_counts=True)
        if len(people) < 2 or counts.max() < 2:
            raise ConfigError(
                "protocol=verification needs genuine and impostor pairs: at least two people in the test, one of them "
                f"with two pictures; there are {len(people)} people with at most {counts.max()} pictures. Add "
                "pictures, or choose a split that leaves more people to the test."
            )

    def evaluate(self, subject: Subject) -> Report:
        """Compare the test images with each other; the training split is not used."""
        test = subject.test
        first, second = _pairs(test.identities)
        lengths = np.linalg.norm(test.embeddings, axis=1, keepdims=True)
        directions = test.embeddings / np.maximum(lengths, 1e-12)
        scores = torch.from_numpy(_cosines(directions, first, second))
        same = torch.from_numpy(test.identities[first] == test.identities[second])
        curve = roc(scores[same], scores[~same])
        values = _values(curve)
        intervals = _intervals(scores, same, test.identities, first, second, values)
        metrics = {
            **{f"verification/{name}": value for name, value in values.items()},
            "verification/genuine_pairs": float(same.sum()),
            "verification/impostor_pairs": float((~same).sum()),
            "test/images": float(len(test.labels)),
        }
        rows = [
            [_TITLES[name], f"{value:.1%}", f"{intervals[name][0]:.1%} to {intervals[name][1]:.1%}"]
            for name, value in values.items()
        ]
        people = len(np.unique(test.identities))
        pairs = f"{int(same.sum()):,} genuine and {int((~same).sum()):,} impostor pairs"
        title = f"verification of {people} unseen people, {pairs}"
        drawn = plots.roc_curve(curve.far.numpy(), curve.tar.numpy(), values["auc"], values["eer"], FAR)
        return Report(
            metrics,
            Table(title, ["", "test", "95 % interval"], rows),
            {f"verification/{name}": pair for name, pair in intervals.items()},
            {"roc": drawn},
        )


def _values(curve: Roc) -> dict[str, float]:
    return {"auc": auc(curve), "eer": eer(curve), "tar_at_far_1e-2": tar_at_far(curve, FAR)}


def _pairs(identities: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the two pictures of every pair; all genuine ones, and impostor pairs up to a million."""
    first, second = np.triu_indices(len(identities), k=1)
    impostors = np.flatnonzero(identities[first] != identities[second])
    if len(impostors) > _MOST_IMPOSTORS:
        kept = np.zeros(len(first), dtype=bool)
        kept[np.random.default_rng(0).choice(impostors, _MOST_IMPOSTORS, replace=False)] = True
        kept |= identities[first] == identities[second]
        first, second = first[kept], second[kept]
    return first, second


def _cosines(
    directions: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64], at_once: int = 10_000
) -> NDArray[np.float32]:
    """Of every pair; a few at a time, since embeddings can be long."""
    splits = [slice(start, start + at_once) for start in range(0, len(first), at_once)]
    return np.concatenate([np.einsum("nd,nd->n", directions[first[p]], directions[second[p]]) for p in splits])


def _intervals(
    scores: torch.Tensor,
    same: torch.Tensor,
    identities: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    values: dict[str, float],
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap over people: pairs that share a person are not independent.

    A person drawn twice counts twice in every pair. Where all genuine pairs are accepted, every resample is perfect
    too; the interval of TAR therefore reaches at least as far down and up as the exact binomial one (Clopper and
    Pearson, 1934) would if each person with a genuine pair were one trial.
    """
    people, person = np.unique(identities, return_inverse=True)
    one, other = torch.from_numpy(person[first]), torch.from_numpy(person[second])
    resampled = []
    for times in torch.from_numpy(times_drawn(len(people), resamples=_RESAMPLES)).double():
        genuine, impostor = times[one[same]], (times[one] * times[other])[~same]
        if genuine.sum() > 0 and impostor.sum() > 0:
            resampled.append(_values(roc(scores[same], scores[~same], genuine, impostor)))
    tail = (1 - LEVEL) / 2
    found = {}
    for name, value in values.items():
        low, high = np.quantile([values[name] for values in resampled], [tail, 1 - tail])
        if name.startswith("tar"):
            compared = int((np.bincount(person) > 1).sum())  # people with a genuine pair
            exact = binomtest(round(value * compared), compared).proportion_ci(LEVEL, method="exact")
            centre = round(value * compared) / compared
            low, high = min(low, value - (centre - exact.low)), max(high, value + (exact.high - centre))
        found[name] = (max(0.0, float(low)), min(1.0, float(high)))
    return found
