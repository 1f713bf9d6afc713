"""A study as a grid: arms under conditions, each repeated on the same replicates, compared in pairs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from scipy.stats import t

from facelab.compare.statistics import Difference, Estimate, estimate, holm, paired
from facelab.compare.table import value_of
from facelab.tracking import ChildRow

_LEVEL = 0.95


@dataclass(frozen=True)
class Axes:
    """The swept keys of a study.

    Args:
        arm: key of what is compared, such as `model`.
        condition: key of what it is compared under, such as `split.train_per_identity`.
        replicate: key of the repetitions, such as `split.seed`.
    """

    arm: str
    condition: str
    replicate: str


@dataclass(frozen=True)
class Grid:
    """Values of a study by arm, condition and replicate.

    Args:
        arms: all that were registered, in their order.
        conditions: likewise.
        replicates: likewise.
        values: of the finished runs, finite.
    """

    arms: Sequence[str]
    conditions: Sequence[str]
    replicates: Sequence[str]
    values: Mapping[tuple[str, str, str], float]

    @property
    def missing(self) -> list[tuple[str, str, str]]:
        """Registered cells without a value, in the order of the study: by replicate, then condition."""
        places = product(self.replicates, self.conditions, self.arms)
        return [(a, c, r) for r, c, a in places if (a, c, r) not in self.values]

    def of(self, arm: str, condition: str) -> dict[str, float]:
        """Values of an arm under a condition, by replicate."""
        return {r: self.values[arm, condition, r] for r in self.replicates if (arm, condition, r) in self.values}

    def estimate(self, arm: str, condition: str) -> Estimate | None:
        """Mean and 95 % interval over the replicates; None without values."""
        found = list(self.of(arm, condition).values())
        return estimate(found) if found else None

    def differences(self, pairs: Sequence[tuple[str, str, str]]) -> list[tuple[Difference | None, float | None]]:
        """Paired differences, and their p values corrected for all of them by Holm's method.

        Args:
            pairs: first arm, second arm, and the condition.

        Returns:
            First minus second, and p, for each; None where the arms share no replicate, or p cannot be computed.
        """
        found = [paired(self.of(first, condition), self.of(second, condition)) for first, second, condition in pairs]
        corrected = holm([None if one is None else one.p for one in found])
        return list(zip(found, corrected, strict=True))


def grid_of(rows: Sequence[ChildRow], axes: Axes, listed: Mapping[str, Sequence[str]], metric: str) -> Grid:
    """The grid of the finished runs of a sweep; of several runs of a cell, the newest counts.

    Args:
        rows: runs of the sweep, the oldest first.
        axes: of the study.
        listed: all registered values of each axis, as text of the command line.
        metric: that is compared.
    """
    values: dict[tuple[str, str, str], float] = {}
    for row in rows:
        value = value_of(row, metric)
        place = (row.point.get(axes.arm, ""), row.point.get(axes.condition, ""), row.point.get(axes.replicate, ""))
        if row.status == "FINISHED" and not row.superseded_by and value is not None:
            values[place] = value
    return Grid(listed[axes.arm], listed[axes.condition], listed[axes.replicate], values)


def half_width(deviation: float, replicates: int) -> float:
    """Half-width of the 95 % interval of a mean difference: the least difference whose interval can exclude 0.

    Args:
        deviation: standard deviation of the paired differences.
        replicates: number of pairs, at least 2.
    """
    return float(t.ppf((1 + _LEVEL) / 2, replicates - 1)) * deviation / math.sqrt(replicates)
