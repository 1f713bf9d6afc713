"""A study as a grid: arms under conditions, each repeated on the same replicates, compared in pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import fmean

from facelab.compare.statistics import Difference, Estimate, crossed, estimate, holm, paired
from facelab.compare.table import value_of
from facelab.metrics.declaration import find_metric
from facelab.tracking import ChildRow

Cell = tuple[str, str, str]  # arm, condition, replicate
Pair = tuple[str, str, str]  # two arms, and the condition that they are compared under
ByPerson = Callable[[ChildRow], Mapping[str, float]]


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
        values: of the finished runs, finite; means over people where these are given.
        by_person: the same of each person, whose mean it is; empty if differences have intervals over replicates only.
        runs: the finished runs with a value.
        valueless: finished runs that have none.
        lower_is_better: whether lower values are better, so that differences are of second and first.
    """

    arms: Sequence[str]
    conditions: Sequence[str]
    replicates: Sequence[str]
    values: Mapping[Cell, float]
    by_person: Mapping[Cell, Mapping[str, float]] = field(default_factory=dict, repr=False)
    runs: Mapping[Cell, ChildRow] = field(default_factory=dict, repr=False)
    valueless: Mapping[Cell, ChildRow] = field(default_factory=dict, repr=False)
    lower_is_better: bool = False

    @property
    def missing(self) -> list[Cell]:
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

    def differences(self, pairs: Sequence[Pair]) -> dict[Pair, tuple[Difference | None, float | None]]:
        """Paired differences, and their p values corrected for all of them by Holm's method, missing ones included.

        Returns:
            By how much the first is better than the second, and p, by pair; None where the arms share no replicate, or
            p cannot be computed.
        """
        found = [self._difference(pair) for pair in pairs]
        corrected = holm([None if one is None else one.p for one in found], len(pairs))
        return dict(zip(pairs, zip(found, corrected, strict=True), strict=True))

    def of_replicates(self, pair: Pair) -> Difference | None:
        """By how much the first is better than the second, with an interval over replicates alone."""
        first, second, condition = self._ordered(pair)
        return paired(self.of(first, condition), self.of(second, condition))

    def of_each_person(self, pair: Pair) -> dict[str, float]:
        """By how much the first is better than the second for each person, mean over the replicates they share."""
        first, second, condition = self._ordered(pair)
        one, other = self._people(first, condition), self._people(second, condition)
        shared = [r for r in one if r in other]
        people = one[shared[0]] if shared else {}
        return {person: fmean(one[r][person] - other[r][person] for r in shared) for person in people}

    def _difference(self, pair: Pair) -> Difference | None:
        if not self.by_person:
            return self.of_replicates(pair)
        first, second, condition = self._ordered(pair)
        return crossed(self._people(first, condition), self._people(second, condition))

    def _ordered(self, pair: Pair) -> Pair:
        """The pair whose second is subtracted."""
        first, second, condition = pair
        return (second, first, condition) if self.lower_is_better else pair

    def _people(self, arm: str, condition: str) -> dict[str, Mapping[str, float]]:
        return {r: self.by_person[arm, condition, r] for r in self.of(arm, condition)}


def grid_of(
    rows: Sequence[ChildRow],
    axes: Axes,
    listed: Mapping[str, Sequence[str]],
    metric: str,
    by_person: ByPerson | None = None,
) -> Grid:
    """The grid of the finished runs of a sweep; of several runs of a cell, the newest counts.

    Args:
        rows: runs of the sweep, the oldest first.
        axes: of the study.
        listed: all registered values of each axis, as text of the command line.
        metric: that is compared.
        by_person: the metric of each person in a run, if intervals are to be over people as well.
    """
    found: dict[Cell, ChildRow] = {}
    valueless: dict[Cell, ChildRow] = {}
    alone = {key: texts[0] if len(texts) == 1 else "" for key, texts in listed.items()}  # is no axis of the sweep
    for row in rows:
        arm, condition, replicate = (
            row.point.get(key, alone[key]) for key in (axes.arm, axes.condition, axes.replicate)
        )
        place = (arm, condition, replicate)
        if row.status == "FINISHED" and not row.superseded_by:
            (found if value_of(row, metric) is not None else valueless)[place] = row
    people = {} if by_person is None else {place: by_person(row) for place, row in found.items()}
    return Grid(
        listed[axes.arm],
        listed[axes.condition],
        listed[axes.replicate],
        values=_means(people) if by_person else _values(found, metric),
        by_person=people,
        runs=found,
        valueless={place: row for place, row in valueless.items() if place not in found},
        lower_is_better=_is_lower_better(list(found.values()), metric),
    )


def _values(found: Mapping[Cell, ChildRow], metric: str) -> dict[Cell, float]:
    return {place: value for place, row in found.items() if (value := value_of(row, metric)) is not None}


def _means(people: Mapping[Cell, Mapping[str, float]]) -> dict[Cell, float]:
    return {place: fmean(shares.values()) for place, shares in people.items()}


def _is_lower_better(rows: Sequence[ChildRow], metric: str) -> bool:
    declared = find_metric(metric, {name: one for row in rows for name, one in row.declared.items()})
    return declared is not None and not declared.higher_is_better
