"""95 % confidence intervals from bootstraps over people (Efron, 1979)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta, binomtest

from facelab.metrics.classification import classification_metrics, per_class_metrics
from facelab.metrics.verification import Roc, roc

LEVEL = 0.95
RESAMPLES = 2000
FEW_RESAMPLES = 500  # of a curve or of many pairs, where each takes milliseconds
_EXACT_SCORES = 20_000
_BINS = 4096
_BLOCK_WEIGHTS = 2**22
_TAIL = (1 - LEVEL) / 2

Interval = tuple[float, float]


def classification_intervals(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], identities: NDArray[np.int64], num_classes: int
) -> dict[str, Interval]:
    """Confidence intervals of classification metrics: a percentile bootstrap over people.

    People are drawn with all their images, since images of one person are not independent. If each person is a class,
    classes are drawn, each with its precision, recall and F1 on all test images, since a test with fewer people would
    be easier. If several people share a class, such as `face`, people are drawn within each class. If one person has
    images of several classes, such as expressions, people are drawn over all classes at once; precision, recall and F1
    of a resample are means over the classes that it has.

    Near 0 and 1 a bootstrap is too narrow: without a misclassified image, every resample is perfect too. Each interval
    is therefore widened to reach at least as far below and above its value as the exact binomial interval over the N
    images (Clopper and Pearson, 1934) reaches below and above the accuracy.

    Args:
        predicted: (N,) predicted labels.
        labels: (N,) true labels.
        identities: (N,) the person on each image.
        num_classes: number of classes.

    Returns:
        (low, high) of `accuracy`, `precision`, `recall` and `f1`; empty for one person, who says nothing about others.
    """
    correct = predicted == labels
    person = _numbered(identities)
    people, classes = int(person.max()) + 1, len(np.unique(labels))
    if people == 1:
        return {}
    of_one_class = len(np.unique(labels * people + person)) == people
    if of_one_class and people == classes:
        resampled = _draw_classes(predicted, labels, num_classes)
    else:
        strata = labels if of_one_class else np.zeros_like(labels)
        resampled = _draw_people(predicted, labels, person, strata, num_classes)
    found = classification_metrics(torch.from_numpy(predicted), torch.from_numpy(labels), num_classes)
    accuracy = float(found["accuracy"])
    exact = binomtest(int(correct.sum()), len(correct)).proportion_ci(LEVEL, method="exact")
    below, above = accuracy - exact.low, exact.high - accuracy
    intervals = {}
    for name, values in resampled.items():
        value = float(found[name])
        low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
        intervals[name] = (max(0.0, min(float(low), value - below)), min(1.0, max(float(high), value + above)))
    return intervals


@dataclass(frozen=True)
class ScoredPairs:
    """Scores of image pairs, with the people on both images.

    Args:
        scores: (P,) float32, higher is more alike.
        first: (P,) int64, number of the person on the first image.
        second: (P,) int64, number of the person on the second image, equal to `first` for genuine pairs.
    """

    scores: NDArray[np.float32]
    first: NDArray[np.int64]
    second: NDArray[np.int64]


def verification_intervals(
    genuine: ScoredPairs,
    impostor: ScoredPairs,
    people: int,
    values: Mapping[str, float],
    measure: Callable[[Roc], Mapping[str, float]],
) -> dict[str, Interval]:
    """Confidence intervals of metrics of a ROC curve: a percentile bootstrap over people.

    People are drawn, since pairs that share a person are not independent. Each genuine pair of a person drawn t times
    counts t times, each impostor pair of two people drawn t and u times counts t * u times. Pairs are sorted by score
    once. More than `_EXACT_SCORES` distinct scores are binned, with equally many genuine or impostor pairs per bin, so
    that FMR and FNMR have a resolution of 1 in `_BINS`, and a finer one among the highest scores.

    If all genuine pairs are accepted, every resample is perfect too. The interval of a TAR therefore reaches at least
    as far below and above its value as the exact binomial interval (Clopper and Pearson, 1934) with one trial for each
    person with a genuine pair.

    Args:
        genuine: pairs of one person each.
        impostor: pairs of two people each.
        people: number of people, also of those without a pair.
        values: metrics of all pairs, by name; names of TARs begin with `tar`.
        measure: computes these metrics of a curve.

    Returns:
        (low, high) by name.
    """
    edges = _score_edges(genuine.scores, impostor.scores)
    of_one, of_two = (
        _Counted(pairs, np.searchsorted(edges, pairs.scores, side="right"), len(edges) + 1)
        for pairs in (genuine, impostor)
    )
    bins = torch.arange(len(edges) + 1)
    resampled = []
    for times in times_drawn(people, resamples=FEW_RESAMPLES):
        accepted, rejected = of_one.weights(times), of_two.weights(times)
        if accepted.sum() > 0 and rejected.sum() > 0:
            curve = roc(bins, bins, torch.from_numpy(accepted), torch.from_numpy(rejected))
            resampled.append(measure(curve))
    compared = len(np.unique(genuine.first))  # people with a genuine pair
    found = {}
    for name, value in values.items():
        low, high = np.quantile([metrics[name] for metrics in resampled], [_TAIL, 1 - _TAIL])
        if name.startswith("tar"):
            exact = binomtest(round(value * compared), compared).proportion_ci(LEVEL, method="exact")
            centre = round(value * compared) / compared
            low, high = min(low, value - (centre - exact.low)), max(high, value + (exact.high - centre))
        found[name] = (max(0.0, float(low)), min(1.0, float(high)))
    return found


def accuracy_interval(
    genuine: ScoredPairs,
    impostor: ScoredPairs,
    people: int,
    thresholds: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> Interval:
    """Confidence interval of the balanced accuracy at given thresholds: a percentile bootstrap over people.

    People count as in `verification_intervals`. The interval reaches at least as far below and above its value as the
    exact binomial interval (Clopper and Pearson, 1934) over all pairs does from the share that is judged correctly.

    Args:
        genuine: pairs of one person each.
        impostor: pairs of two people each.
        people: number of people.
        thresholds: of each genuine and of each impostor pair; at least the threshold is accepted.
    """
    right = genuine.scores >= thresholds[0], impostor.scores < thresholds[1]
    counted = [
        _Counted(pairs, flags.astype(np.int64), 2) for pairs, flags in zip((genuine, impostor), right, strict=True)
    ]
    resampled = []
    for times in times_drawn(people):
        shares = [weights[1] / total for c in counted if (total := (weights := c.weights(times)).sum()) > 0]
        if len(shares) == 2:
            resampled.append(sum(shares) / 2)
    value = float(np.mean([flags.mean() for flags in right]))
    correct, total = sum(int(flags.sum()) for flags in right), sum(len(flags) for flags in right)
    exact = binomtest(correct, total).proportion_ci(LEVEL, method="exact")
    low, high = np.quantile(resampled, [_TAIL, 1 - _TAIL])
    share = correct / total
    return max(0.0, min(low, value - (share - exact.low))), min(1.0, max(high, value + (exact.high - share)))


def _score_edges(genuine: NDArray[np.float32], impostor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ascending edges between bins of scores; a score equal to an edge belongs to the bin above."""
    distinct = np.unique(np.concatenate([genuine, impostor]))
    if len(distinct) <= _EXACT_SCORES:
        return distinct[1:]
    tails = np.geomspace(1 / _BINS, 1e-7, 256)[1:]  # the highest impostor scores decide TAR at a low FAR
    shares = np.concatenate([np.arange(1, _BINS) / _BINS, 1 - tails])
    both = [np.quantile(scores, shares, method="higher") for scores in (genuine, impostor)]
    return np.unique(np.concatenate(both)).astype(np.float32)


class _Counted:
    """Pairs ordered by a bin each, for repeated weighted counts.

    Args:
        pairs: P pairs.
        places: (P,) number of each pair's bin.
        bins: number of bins.
    """

    def __init__(self, pairs: ScoredPairs, places: NDArray[np.int64], bins: int) -> None:
        order = np.argsort(places, kind="stable")
        self._first, self._second = pairs.first[order], pairs.second[order]
        self._two = self._first != self._second
        self._filled, self._starts = np.unique(places[order], return_index=True)
        self._bins = bins

    def weights(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum per bin (bins,) of `times` of each pair's person, or of the product for pairs of two people."""
        weight = times[self._first] * np.where(self._two, times[self._second], 1)
        found = np.zeros(self._bins)
        found[self._filled] = np.add.reduceat(weight, self._starts)
        return found


def _draw_classes(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int
) -> dict[str, NDArray[np.float64]]:
    present, class_of = np.unique(labels, return_inverse=True)
    found = per_class_metrics(torch.from_numpy(predicted), torch.from_numpy(labels), num_classes)
    images = np.bincount(class_of).astype(float)
    right = np.bincount(class_of, weights=predicted == labels)
    sums = np.stack([right, images, *(values.numpy()[present] for values in found.values())], axis=1)
    drawn = np.stack([times @ sums for times in times_drawn(len(present))])
    macro = {name: drawn[:, 2 + i] / len(present) for i, name in enumerate(found)}
    return {"accuracy": drawn[:, 0] / drawn[:, 1], **macro}


def _draw_people(
    predicted: NDArray[np.int64],
    labels: NDArray[np.int64],
    person: NDArray[np.int64],
    strata: NDArray[np.int64],
    num_classes: int,
) -> dict[str, NDArray[np.float64]]:
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    people = [_numbered(person[of_stratum]) for of_stratum in members]
    draws = [times_drawn(1 + int(of_stratum.max()), seed=seed) for seed, of_stratum in enumerate(people)]
    of_label = torch.from_numpy(labels)
    blocks = []
    at_once = max(1, _BLOCK_WEIGHTS // len(labels))
    for start in range(0, RESAMPLES, at_once):
        weights = np.zeros((min(at_once, RESAMPLES - start), len(labels)))
        for row in weights:
            for of_stratum, numbers, drawn in zip(members, people, draws, strict=True):
                row[of_stratum] = next(drawn)[numbers]
        counted = torch.from_numpy(weights)
        found = per_class_metrics(torch.from_numpy(predicted), of_label, num_classes, counted)
        images = torch.zeros(len(weights), num_classes, dtype=torch.float64).index_add_(1, of_label, counted)
        classes = (images > 0).sum(1)  # all values of a class without images are 0
        accuracy = weights @ (predicted == labels) / weights.sum(axis=1)
        blocks.append(
            {"accuracy": accuracy, **{name: (values.sum(1) / classes).numpy() for name, values in found.items()}}
        )
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def widened(resampled: NDArray[np.float64], share: float, trials: int) -> Interval:
    """The percentile interval of resampled shares, widened to the exact binomial interval.

    Args:
        resampled: (B,) the share in each resample.
        share: in [0, 1].
        trials: number of trials for the exact interval (Clopper and Pearson, 1934), at least 1; `share` need not be a
            multiple of 1 / trials, as where a person is one trial (Korn and Graubard, 1998).
    """
    low, high = np.quantile(resampled, [_TAIL, 1 - _TAIL])
    hits = share * trials
    exact_low = float(beta.ppf(_TAIL, hits, trials - hits + 1)) if share > 0 else 0.0
    exact_high = float(beta.ppf(1 - _TAIL, hits + 1, trials - hits)) if share < 1 else 1.0
    return min(float(low), exact_low), max(float(high), exact_high)


def times_drawn(count: int, seed: int = 0, resamples: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """Yield for each resample how often (count,) each of `count` items is drawn, in `count` draws with replacement."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(count, size=count), minlength=count)


def _numbered(identities: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber the identities (N,) consecutively from 0."""
    return np.unique(identities, return_inverse=True)[1].astype(np.int64)
