"""Error rates by group of images, and the gaps between groups, with intervals over people."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.protocols.identification_intervals import RESAMPLES, Interval, widened
from facelab.protocols.intervals import LEVEL, times_drawn

LEAST_PEOPLE, LEAST_TRIALS = 10, 30
_TAIL = (1 - LEVEL) / 2


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


def rates_by_group(trials: Trials, groups: int, people: int, compared: Sequence[int]) -> ByGroup:
    """Error rates of groups and their gap, with intervals from one bootstrap over the people of all groups.

    A trial of a person drawn t times counts t times, a pair of two people drawn t and u times counts t * u times. Each
    interval of a rate is widened to the exact binomial one with a trial for each person, or each pair of people.

    A gap is never negative, and noise makes it larger, in each resample once more. Its interval is therefore the basic
    bootstrap's (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 5.2), which subtracts
    that excess, widened to Newcombe's for the two groups, made of their intervals ("Interval estimation for the
    difference between independent proportions", 1998, method 10). It begins at 0 if the data do not show that the
    groups differ.

    Args:
        trials: of all groups.
        groups: number G of groups.
        people: number P of people.
        compared: the groups between which the gap is measured, at least two, each with trials.
    """
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
    drawn = np.stack([rates(times) for times in times_drawn(people, resamples=RESAMPLES)])
    distinct = np.bincount(group, minlength=groups)
    found = [
        None
        if np.isnan(once[g])
        else Rate(float(once[g]), widened(_known(drawn[:, g]), float(once[g]), int(distinct[g])))
        for g in range(groups)
    ]
    chosen = drawn[:, list(compared)]
    gaps = np.nanmax(chosen, axis=1) - np.nanmin(chosen, axis=1)
    return ByGroup(found, _gap([rate for g in compared if (rate := found[g]) is not None], gaps))


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known: NDArray[np.float64] = values[~np.isnan(values)]
    return known


def _gap(rates: Sequence[Rate], resampled: NDArray[np.float64]) -> Rate:
    worst, best = max(rates, key=lambda rate: rate.value), min(rates, key=lambda rate: rate.value)
    value = worst.value - best.value
    upper, lower = np.quantile(resampled, [1 - _TAIL, _TAIL])
    down = np.hypot(worst.value - worst.interval[0], best.interval[1] - best.value)
    up = np.hypot(worst.interval[1] - worst.value, best.value - best.interval[0])
    low, high = min(2 * value - upper, value - down), max(2 * value - lower, value + up)
    return Rate(value, (max(0.0, float(low)), min(1.0, float(high))))
