"""Select the runs of a comparison, group them, and test their differences."""

import functools
import itertools
import math
import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from facelab.compare.shown import is_finite, label_of, rounded, shown_difference, shown_estimate, shown_p
from facelab.compare.statistics import Difference, Estimate, estimate, holm, paired
from facelab.metrics.declaration import Metric, find_metric
from facelab.tracking import SILENT_AFTER_S, ChildRow, SweepRow

REPLICATES = ("seed", "split.seed", "split.fold")
_ALL_PAIRS_UP_TO = 6  # groups
_MOST_MISSING = 10_000
_IGNORED_KEYS = ("name", "runtime", "tracking", "resume", "sweep", "executor", "search", "evaluates", "seen")


@dataclass(frozen=True)
class Group:
    """Runs that differ only in replicate axes.

    Args:
        point: the values they share, by column.
        runs: at least one.
    """

    point: Mapping[str, str]
    runs: list[ChildRow]

    @property
    def label(self) -> str:
        """Label of the point in one line."""
        return self.point["run"] if "run" in self.point else label_of(self.point) or "all"


@dataclass(frozen=True)
class Remark:
    """A remark on a run: why it does not count, or what to consider if it does.

    Args:
        name: of the run, or label of a point that has no run.
        id: of the run; empty for a point that has no run.
        status: in one word.
        reason: in words.
    """

    name: str
    id: str
    status: str
    reason: str


@dataclass(frozen=True)
class Study:
    """A comparison of runs: groups, metrics and remarks.

    Args:
        title: of the page.
        command: that started the sweep; empty for single runs.
        columns: keys in which the groups differ.
        replicates: swept axes to average over.
        groups: in the order they are shown.
        metrics: metrics to show; the first ranks and compares the groups.
        rows: all runs, also those that do not count.
        remarks: on missing, failed and other notable runs.
        search: `metric`, `direction`, `sampler` and `trials` of a search; None otherwise.
    """

    title: str
    command: str
    columns: list[str]
    replicates: list[str]
    groups: list[Group]
    metrics: list[str]
    rows: list[ChildRow]
    remarks: list[Remark]
    search: Mapping[str, object] | None

    @property
    def of_single_runs(self) -> bool:
        """Whether this compares single runs, not a sweep."""
        return self.columns[:1] == ["run"]

    @property
    def counted(self) -> list[ChildRow]:
        """The runs that count."""
        return [run for group in self.groups for run in group.runs]

    @property
    def commits(self) -> dict[str, int]:
        """Number of counted runs by commit."""
        return dict(Counter(run.commit for run in self.counted if run.commit))

    @property
    def states(self) -> dict[str, int]:
        """Number of runs by status; replaced runs have the status "superseded"."""
        return dict(Counter("superseded" if row.superseded_by else row.status for row in self.rows))

    @property
    def ranked(self) -> list[ChildRow]:
        """Counted runs that have the first metric, the best first."""
        if not self.metrics:
            return []
        metric = self.metrics[0]
        having = [run for run in self.counted if value_of(run, metric) is not None]
        return sorted(having, key=lambda run: run.metrics[metric], reverse=not self.lowest_first)

    @property
    def lowest_first(self) -> bool:
        """Whether lower values of the first metric are better."""
        if self.search is not None and self.metrics[:1] == [self.search["metric"]]:
            return self.search["direction"] == "minimize"
        return bool(self.metrics) and not self.metric(self.metrics[0]).higher_is_better

    def metric(self, name: str) -> Metric:
        """The declaration of a metric by the runs that recorded it, under this name; by default, higher is better."""
        found = find_metric(name, self._declared)
        return replace(found, name=name) if found else Metric(name, name, higher_is_better=True)

    @functools.cached_property
    def _declared(self) -> dict[str, Metric]:
        return declared(self.rows)


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of two groups, on the replicates they share.

    Args:
        first: label of the first group.
        second: label of the second group.
        difference: first minus second, of the study's first metric.
        p: corrected for the number of comparisons.
    """

    first: str
    second: str
    difference: Difference
    p: float | None


def study_of_sweep(sweep: SweepRow, rows: Sequence[ChildRow], metrics: Sequence[str] | None) -> Study:
    """Group the runs of a sweep or a search by its axes.

    Args:
        sweep: the parent run.
        rows: its runs, the oldest first.
        metrics: metrics to show; None for the headline metrics.
    """
    axes = list(sweep.axes)
    replicates = [axis for axis in axes if axis in REPLICATES] if sweep.search is None else []
    columns = [axis for axis in axes if axis not in replicates]
    counted: dict[tuple[object, ...], ChildRow] = {}
    remarks: list[Remark] = []
    for row in rows:
        place: tuple[object, ...] = (row.trial, *(row.point.get(axis, "") for axis in axes))
        if row.superseded_by:
            remarks.append(Remark(row.name, row.id, "superseded", f"replaced by run {row.superseded_by}"))
        elif row.status != "FINISHED":
            remarks.append(Remark(row.name, row.id, row.status, row.reason or _state(row)))
        else:
            if place in counted:
                before = counted[place]
                remarks.append(Remark(before.name, before.id, "repeated", f"run {row.id} has the same point"))
            counted[place] = row
    shown = list(metrics) if metrics is not None else default_metrics(list(counted.values()), sweep.search)
    by_point: dict[tuple[object, ...], list[ChildRow]] = defaultdict(list)
    for place, row in counted.items():
        by_point[place if sweep.search is not None else tuple(map(row.point.get, columns))].append(row)
    groups = [Group({column: runs[0].point.get(column, "") for column in columns}, runs) for runs in by_point.values()]
    if sweep.search is not None:
        columns = ["trial", *columns]
        groups = [Group({"trial": str(group.runs[0].trial), **group.point}, group.runs) for group in groups]
    else:
        groups.sort(key=lambda group: [_rank(sweep.axes[column], group.point[column]) for column in columns])
    study = Study(
        f"sweep {sweep.name}", sweep.command, columns, replicates, groups, shown, list(rows), remarks, sweep.search
    )
    if sweep.search is not None:
        order = {run.id: rank for rank, run in enumerate(study.ranked)}
        groups.sort(key=lambda group: order.get(group.runs[0].id, len(order)))
    remarks += [*_missing(sweep, rows), *_older(study)]
    return study


def study_of_runs(rows: Sequence[ChildRow], metrics: Sequence[str] | None) -> Study:
    """Compare single runs, finished or not; the columns are the config keys in which they differ.

    Args:
        rows: the runs, at least one.
        metrics: metrics to show; None for the headline metrics.
    """
    shared = set.intersection(*(set(row.params) for row in rows))
    keys = [key for key in sorted(shared, key=lambda key: ("." in key, key)) if key.split(".")[0] not in _IGNORED_KEYS]
    columns = [key for key in keys if len({row.params[key] for row in rows}) > 1]
    groups = [
        Group({"run": f"{row.name} ({row.id[:8]})", **{key: row.params[key] for key in columns}}, [row]) for row in rows
    ]
    shown = list(metrics) if metrics is not None else default_metrics(rows, None)
    remarks = []
    for row in rows:
        if row.superseded_by:
            remarks.append(Remark(row.name, row.id, "superseded", f"replaced by run {row.superseded_by}"))
        elif row.status != "FINISHED":
            remarks.append(Remark(row.name, row.id, row.status, row.reason or _state(row)))
    return Study("runs", "", ["run", *columns], [], groups, shown, list(rows), remarks, None)


def cells(study: Study, group: Group) -> list[str]:
    """Cells of a group's row in the table: its point, then each metric."""
    found = [shown_estimate(study.metric(metric), estimate_of(group, metric)) for metric in study.metrics]
    point = [group.point[column] for column in study.columns]
    return [*(point if study.search is None else map(rounded, point)), *found]


def comparison_cells(study: Study, comparison: Comparison) -> list[str]:
    """Cells of a paired comparison: both labels, difference, interval, number of replicates, corrected p."""
    found = comparison.difference.estimate
    mean, interval = shown_difference(study.metric(study.metrics[0]), found)
    return [comparison.first, comparison.second, mean, interval, str(found.n), shown_p(comparison.p)]


def declared(rows: Sequence[ChildRow]) -> dict[str, Metric]:
    """The metrics that runs declare, by name; the newest declaration holds."""
    return {name: metric for row in rows for name, metric in row.declared.items()}


def default_metrics(rows: Sequence[ChildRow], search: Mapping[str, object] | None) -> list[str]:
    """The headline metrics of the runs, after the metric of a search.

    Before the test evaluation: their validation counterparts, else losses.
    """
    known = declared(rows)
    had = sorted(recorded_metrics(rows), key=lambda name: list(known).index(name) if name in known else len(known))
    own = [str(search["metric"])] if search is not None else []
    headlines = [name for name in had if name in known and known[name].headline]
    chosen = [name for name in dict.fromkeys([*own, *headlines]) if name in had]
    if chosen:
        return chosen
    before = [name for name in had if (found := find_metric(name, known)) is not None and found.headline]
    return (
        [name for name in before if not name.endswith(("_low", "_high"))]
        or [n for n in had if n.endswith("/loss")]
        or had[:4]
    )


def recorded_metrics(rows: Sequence[ChildRow]) -> set[str]:
    """Names of all metrics of runs, except system metrics."""
    return {name for row in rows for name in row.metrics if not name.startswith("system/")}


def value_of(run: ChildRow, metric: str) -> float | None:
    """A run's last value of a metric; None if it is missing or not finite."""
    value = run.metrics.get(metric, math.nan)
    return value if is_finite(value) else None


def estimate_of(group: Group, metric: str) -> Estimate | None:
    """Mean and interval of a metric over the runs of a group; None if none has a finite value."""
    found = [value for run in group.runs if (value := value_of(run, metric)) is not None]
    return estimate(found) if found else None


def comparisons(study: Study) -> list[Comparison]:
    """Paired comparisons: of all pairs of groups, or of the best with each other one if there are many.

    p values are corrected for all pairs, since the best of many was chosen by the same data. Empty without replicates.
    """
    if not study.metrics or not study.replicates:
        return []
    metric = study.metrics[0]
    means = [(found.mean, group) for group in study.groups if (found := estimate_of(group, metric)) is not None]
    pairs: Iterator[tuple[Group, Group]]
    corrected_for = None if len(means) <= _ALL_PAIRS_UP_TO else math.comb(len(means), 2)
    if corrected_for is None:
        pairs = itertools.combinations([group for _, group in means], 2)
    else:
        best = (min if study.lowest_first else max)(means, key=lambda pair: pair[0])[1]
        pairs = ((best, group) for _, group in means if group is not best)
    compared: list[tuple[str, str, Difference]] = []
    for first, second in pairs:
        difference = paired(by_replicate(study, first), by_replicate(study, second))
        if difference is not None:
            compared.append((first.label, second.label, difference))
    corrected = holm([difference.p for _, _, difference in compared], corrected_for)
    return [
        Comparison(first, second, difference, p)
        for (first, second, difference), p in zip(compared, corrected, strict=True)
    ]


def by_replicate(study: Study, group: Group) -> dict[Hashable, float]:
    """The finite values of a group's first metric by replicate."""
    metric = study.metrics[0]
    return {
        tuple(run.point.get(axis, "") for axis in study.replicates): value
        for run in group.runs
        if (value := value_of(run, metric)) is not None
    }


def _rank(values: Sequence[str], value: str) -> int:
    return values.index(value) if value in values else len(values)


def _state(row: ChildRow) -> str:
    if row.status != "RUNNING":
        return "no reason recorded"
    silent_s = time.time() - row.alive_s
    return f"no heartbeat for {silent_s:,.0f} s" if row.alive_s and silent_s > SILENT_AFTER_S else "still training"


def _missing(sweep: SweepRow, rows: Sequence[ChildRow]) -> list[Remark]:
    """Remarks on points of the sweep that have no run."""
    there = [row for row in rows if not row.superseded_by]
    if sweep.search is not None:
        trials = int(sweep.search["trials"])
        left = trials - len(there)
        return [Remark(f"{left} of {trials} trials", "", "missing", "not started")] if left > 0 else []
    size = math.prod(len(values) for values in sweep.axes.values())
    if size > _MOST_MISSING:
        left = size - len(there)
        return [Remark(f"{left} of {size} points", "", "missing", "not started")] if left > 0 else []
    begun = {tuple(row.point.get(axis, "") for axis in sweep.axes) for row in there}
    every = (dict(zip(sweep.axes, values, strict=True)) for values in itertools.product(*sweep.axes.values()))
    return [
        Remark(label_of(point), "", "missing", "not started") for point in every if tuple(point.values()) not in begun
    ]


def _older(study: Study) -> list[Remark]:
    """Remarks on counted runs that were trained by another commit than the newest run."""
    known = [row for row in study.rows if row.commit]
    counted = {run.id for run in study.counted}
    newest = known[-1].commit if known else ""
    return [
        Remark(row.name, row.id, "older", f"counts, but was trained by commit {row.commit[:9]}")
        for row in known
        if row.id in counted and row.commit != newest
    ]
