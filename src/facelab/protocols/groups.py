"""Error rates by group of images, and the gaps between groups, with intervals over people."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.protocols.intervals import FEW_RESAMPLES, LEVEL, Interval, times_drawn, widened

LEAST_PEOPLE, LEAST_TRIALS = 10, 30


@dataclass(frozen=True)
class Trials:
    """Trials of all groups: classified images, or compared pairs of images.

    Args:
        group: (T,) int64 in [0, G), the group of each trial.
        error: (T,) whether it failed.
        first: (T,) int64 in [0, P), the person on the image, or on the first image.
        second: (T,) int64, the person on the second image; equal to `first` for images and genuine pairs.
    """

    group: Indices
    error: NDArray[np.bool_]
    first: Indices
    second: Indices


@dataclass(frozen=True)
class Rate:
    """An error rate with its 95 % interval.

    Args:
        value: in [0, 1].
        interval: (low, high).
    """

    value: float
    interval: Interval


@dataclass(frozen=True)
class ByGroup:
    """An error rate by group.

    Args:
        rates: of each of the G groups; None for a group without trials.
        gap: the highest minus the lowest rate of the compared groups.
    """

    rates: Sequence[Rate | None]
    gap: Rate


def rates_by_group(trials: Trials, people: int, compared: Sequence[int], independent: Indices) -> ByGroup:
    """Error rates of groups and their gap, with intervals from one bootstrap over the people of all groups.

    A trial of a person drawn t times counts t times, a pair of two people drawn t and u times counts t * u times. Each
    interval of a rate is widened to the exact binomial one over a number of trials that count as independent.

    A gap is never negative, and noise alone makes it larger, the more so the more groups there are. The gap of measured
    rates differs from that of true rates by no more than the range of the groups' deviations, which the bootstrap
    measures: its 95th percentile on both sides of the gap is the interval, as in Tukey's comparison of all pairs of
    groups (1953). It is widened to Newcombe's for the two groups, made of their intervals ("Interval estimation for the
    difference between independent proportions", 1998, method 10), and begins at 0 if no groups are shown to differ.

    Args:
        trials: of all groups.
        people: number P of people.
        compared: the groups between which the gap is measured, at least two, each with trials.
        independent: (G,) trials of each group for its exact interval, such as its images.
    """
    groups = len(independent)
    codes = (trials.group * people + trials.first) * people + trials.second
    _, first_of, place = np.unique(codes, return_index=True, return_inverse=True)
    counts, errors = np.bincount(place), np.bincount(place, weights=trials.error)
    group, first, second = (values[first_of] for values in (trials.group, trials.first, trials.second))
    several = first != second

    def rates(times: NDArray[np.int64]) -> NDArray[np.float64]:
        weight = times[first] * np.where(several, times[second], 1)
        failed, all_of = (np.bincount(group, weights=weight * of, minlength=groups) for of in (errors, counts))
        with np.errstate(invalid="ignore"):
            found: NDArray[np.float64] = failed / all_of  # NaN for a group of which nobody was drawn
        return found

    once = rates(np.ones(people, np.int64))
    drawn = np.stack([rates(times) for times in times_drawn(people, resamples=FEW_RESAMPLES)])
    trusted = np.minimum(independent, np.bincount(trials.group, minlength=groups))
    found = [
        None
        if np.isnan(once[g])
        else Rate(float(once[g]), widened(_known(drawn[:, g]), float(once[g]), int(trusted[g])))
        for g in range(groups)
    ]
    deviations = (drawn - once)[:, list(compared)]
    reach = np.quantile(np.nanmax(deviations, axis=1) - np.nanmin(deviations, axis=1), LEVEL)
    return ByGroup(found, _gap([rate for g in compared if (rate := found[g]) is not None], float(reach)))


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known: NDArray[np.float64] = values[~np.isnan(values)]
    return known


def _gap(rates: Sequence[Rate], reach: float) -> Rate:
    worst, best = max(rates, key=lambda rate: rate.value), min(rates, key=lambda rate: rate.value)
    value = worst.value - best.value
    down = np.hypot(worst.value - worst.interval[0], best.interval[1] - best.value)
    up = np.hypot(worst.interval[1] - worst.value, best.value - best.interval[0])
    return Rate(value, (max(0.0, value - max(reach, float(down))), min(1.0, value + max(reach, float(up)))))
