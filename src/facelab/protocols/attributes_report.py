"""The report of error rates by group: metrics, table, picture, and a row per group and rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facelab.data.columns import Indices
from facelab.data.listing import some_of
from facelab.protocols.attributes_plots import group_rates
from facelab.protocols.base import Report, Table
from facelab.protocols.groups import LEAST_PEOPLE, LEAST_TRIALS, ByGroup, Rate, Trials, rates_by_group

_TITLES = {"error": "error", "fmr": "FMR", "fnmr": "FNMR"}
_SHOWN_GROUPS = 20
_MOST_PAIRS, _LEAST_PAIRS = 400_000, 10_000  # of all groups, and of one


@dataclass(frozen=True)
class Groups:
    """Groups of the images of a test, by the values of a column.

    Args:
        column: that sets the groups.
        names: of the G groups.
        group: (N,) int64 in [0, G), the group of each image; -1 for none.
        person: (N,) int64 in [0, P), the person on each image.
        paired: whether pairs of images are compared, not single images.
    """

    column: str
    names: Sequence[str]
    group: Indices
    person: Indices
    paired: bool

    @property
    def counts(self) -> tuple[Indices, Indices, Indices]:
        """People, genuine pairs and impostor pairs (G,) of each group."""
        kept = self.group >= 0
        total = int(self.person.max()) + 1
        members, images = np.unique(self.group[kept] * total + self.person[kept], return_counts=True)
        group, groups = members // total, len(self.names)
        squares = np.bincount(group, weights=images**2, minlength=groups).astype(np.int64)
        return np.bincount(group, minlength=groups), (squares - self.images) // 2, (self.images**2 - squares) // 2

    @property
    def images(self) -> Indices:
        """Images (G,) of each group."""
        return np.bincount(self.group[self.group >= 0], minlength=len(self.names))

    @property
    def most_pairs(self) -> int:
        """How many pairs of each kind are drawn of a group at most."""
        return max(_LEAST_PAIRS, _MOST_PAIRS // len(self.names))

    @property
    def compared(self) -> list[int]:
        """The groups that are large enough for their rates to be compared."""
        people, genuine, impostor = self.counts
        trials = np.minimum(genuine, impostor) if self.paired else self.images
        return np.flatnonzero((people >= LEAST_PEOPLE) & (trials >= LEAST_TRIALS)).tolist()

    def sizes(self, of: Sequence[int] | None = None) -> str:
        """The number of people and images of some groups, or of all, in words."""
        people, images = self.counts[0], self.images
        shown = [
            f"{self.names[g]}: {people[g]:,} people, {images[g]:,} images"
            for g in (range(len(self.names)) if of is None else of)
        ]
        return f"Groups: {some_of(shown)}."

    def measure(self, trials: Trials, kind: str) -> ByGroup:
        """Error rates of the groups, and the gap between those that are large enough.

        For the exact intervals, the independent trials are images for `error`, pairs of people for `fmr`, and for
        `fnmr` the images beyond the first of each person, since pairs that share images are not independent.
        """
        people = self.counts[0]
        independent = {"error": self.images, "fmr": people * (people - 1) // 2, "fnmr": self.images - people}[kind]
        return rates_by_group(trials, int(self.person.max()) + 1, self.compared, independent)


def attributes_report(groups: Groups, rates: Mapping[str, ByGroup], notes: Sequence[str], images: int) -> Report:
    """Report error rates by group and their gaps.

    Args:
        groups: what was measured.
        rates: by name: `error`, or `fmr` and `fnmr`.
        notes: what to know before the metrics are used.
        images: of the test.
    """
    compared = groups.compared
    metrics, intervals = {"attributes/groups": float(len(compared)), "test/images": float(images)}, {}
    for name, of_groups in rates.items():
        worst = max((rate for g in compared if (rate := of_groups.rates[g])), key=lambda rate: rate.value)
        for key, rate in (("gap", of_groups.gap), ("worst", worst)):
            metrics[f"attributes/{name}_{key}"] = rate.value
            intervals[f"attributes/{name}_{key}"] = rate.interval
    few = sorted(set(range(len(groups.names))) - set(compared))
    without = int((groups.group < 0).sum())
    said = [*notes]
    if few:
        said.append(
            f"attributes: {len(few):,} groups are too small for the gaps and left out of them. {groups.sizes(few)}"
        )
    if without:
        said.append(f"attributes: {without:,} of {images:,} test images have no value of {groups.column}.")
    drawn = group_rates(
        {_TITLES[name]: [(groups.names[g], of.rates[g]) for g in compared] for name, of in rates.items()},
        f"test faces by {groups.column}, with 95 % intervals over people",
    )
    return Report(
        metrics, _table(groups, rates), intervals, {"attributes": drawn}, {"attributes": _rows(groups, rates)}, said
    )


def _table(groups: Groups, rates: Mapping[str, ByGroup]) -> Table:
    compared, people = groups.compared, groups.counts[0]
    first = next(iter(rates.values())).rates
    order = sorted(compared, key=lambda g: -(rate.value if (rate := first[g]) else 0))
    rows = [
        [groups.names[g], *(text for of in rates.values() for text in _shown(of.rates[g])), f"{people[g]:,}"]
        for g in order[:_SHOWN_GROUPS]
    ]
    if len(order) > _SHOWN_GROUPS:
        rows.append([f"{len(order) - _SHOWN_GROUPS:,} more in attributes.csv", *[""] * (2 * len(rates) + 1)])
    rows.append(["gap", *(text for of in rates.values() for text in _shown(of.gap)), ""])
    headings = [text for name in rates for text in (_TITLES[name], "95 % interval")]
    return Table(f"test faces by {groups.column}, {len(compared)} groups", ["", *headings, "people"], rows)


def _shown(rate: Rate | None) -> tuple[str, str]:
    return ("", "") if rate is None else (f"{rate.value:.1%}", f"{rate.interval[0]:.1%} to {rate.interval[1]:.1%}")


def _rows(groups: Groups, rates: Mapping[str, ByGroup]) -> list[list[object]]:
    """A row per group and rate, also of groups that are too small for the gaps."""
    people, genuine, impostor = groups.counts
    impostor, genuine = (np.minimum(pairs, groups.most_pairs) for pairs in (impostor, genuine))
    trials = {"error": groups.images, "fmr": impostor, "fnmr": genuine}
    compared = set(groups.compared)
    return [
        ["group", "rate", "value", "low", "high", "people", "images", "trials", "in_gap"],
        *(
            [name, rate, found.value, *found.interval, people[g], groups.images[g], trials[rate][g], g in compared]
            for rate, of in rates.items()
            for g, (name, found) in enumerate(zip(groups.names, of.rates, strict=True))
            if found is not None
        ),
    ]
