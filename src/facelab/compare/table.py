"""Which runs count, how they are grouped, and how they differ."""

import itertools
import math
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from facelab.compare.statistics import Difference, Estimate, estimate, holm, paired
from facelab.tracking import ChildRow, SweepRow

REPLICATES = ("seed", "split.seed", "split.fold")
_DEFAULT_METRICS = (
    "test/accuracy",
    "test/f1",
    "linear_probe/accuracy",
    "knn/accuracy",
    "verification/eer",
    "verification/tar_at_far_1e-2",
    "identification/rank1",
    "reconstruction/rmse_over_pca",
    "generation/kid_face",
)
_BEFORE_A_TEST = ("best/f1", "val/f1", "val/accuracy", "val/loss", "train/loss")
_LOWER_IS_BETTER = frozenset({"loss", "eer", "rmse", "kid", "fid", "frechet", "fnir", "error", "seconds"})
_SHARES = frozenset({"accuracy", "precision", "recall", "f1", "eer", "tar", "rank1", "fnir", "share"})
_ALL_PAIRS_UP_TO = 6  # groups
_MOST_MISSING = 10_000
_SILENT_AFTER_S = 60.0
_NOT_TOLD_APART_BY = ("name", "runtime", "tracking", "resume", "sweep", "executor", "search")


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but replicate axes.

    Args:
        point: the values they share, by column.
        runs: at least one.
    """

    point: Mapping[str, str]
    runs: list[ChildRow]

    @property
    def label(self) -> str:
        """The point in one line."""
        return self.point["run"] if "run" in self.point else label_of(self.point) or "all"


@dataclass(frozen=True)
class Remark:
    """A run that does not count, or counts with a reservation, and why.

    Args:
        name: of the run, or the point that has none.
        id: of the run; empty of a point that has none.
        status: in one word.
        reason: in words.
    """

    name: str
    id: str
    status: str
    reason: str


@dataclass(frozen=True)
class Study:
    """All that a comparison shows.

    Args:
        title: of the page.
        command: with which the sweep was begun; empty of single runs.
        columns: that tell the groups apart.
        replicates: swept axes over which means are taken.
        groups: in the order they are shown.
        metrics: shown ones; the first is the one compared by.
        rows: all runs, also those that do not count.
        remarks: what is to be said of single runs.
        search: of a search its `metric`, `direction`, `sampler` and `trials`.
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
        """Whether each run stands for itself, outside a sweep."""
        return self.columns[:1] == ["run"]

    @property
    def counted(self) -> list[ChildRow]:
        """The runs that count."""
        return [run for group in self.groups for run in group.runs]

    @property
    def commits(self) -> dict[str, int]:
        """How many of the counted runs each commit trained."""
        return dict(Counter(run.commit for run in self.counted if run.commit))

    @property
    def states(self) -> dict[str, int]:
        """How many runs are in each state; those that were replaced are in one of their own."""
        return dict(Counter("superseded" if row.superseded_by else row.status for row in self.rows))

    @property
    def ranked(self) -> list[ChildRow]:
        """The counted runs that have the first metric, the best first."""
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
        return bool(self.metrics) and lower_is_better(self.metrics[0])


@dataclass(frozen=True)
class Comparison:
    """Two groups on the replicates they share.

    Args:
        first: its label.
        second: its label.
        difference: first minus second, of the study's first metric.
        p: corrected for the number of comparisons.
    """

    first: str
    second: str
    difference: Difference
    p: float | None


def study_of_sweep(sweep: SweepRow, rows: Sequence[ChildRow], metrics: Sequence[str] | None) -> Study:
    """A sweep or a search, by its axes.

    Args:
        sweep: the parent run.
        rows: its runs, the oldest first.
        metrics: to be shown; None for those that say most.
    """
    axes = list(sweep.axes)
    replicates = [axis for axis in axes if axis in REPLICATES] if sweep.search is None else []
    columns = [axis for axis in axes if axis not in replicates]
    counted: dict[tuple[object, ...], ChildRow] = {}
    remarks: list[Remark] = []
    for row in rows:
        place: tuple[object, ...] = (row.trial, *(row.point.get(axis, "") for axis in axes))
        if row.superseded_by:
            remarks.append(Remark(row.name, row.id, "superseded", f"run {row.superseded_by} took its place"))
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
    """Any runs, finished or not, each by itself, told apart by what their configs differ in.

    Args:
        rows: the runs, at least one.
        metrics: to be shown; None for those that say most.
    """
    shared = set.intersection(*(set(row.params) for row in rows))
    told = [
        key for key in sorted(shared, key=lambda key: ("." in key, key)) if key.split(".")[0] not in _NOT_TOLD_APART_BY
    ]
    columns = [key for key in told if len({row.params[key] for row in rows}) > 1]
    groups = [
        Group({"run": f"{row.name} ({row.id[:8]})", **{key: row.params[key] for key in columns}}, [row]) for row in rows
    ]
    shown = list(metrics) if metrics is not None else default_metrics(rows, None)
    remarks = []
    for row in rows:
        if row.superseded_by:
            remarks.append(Remark(row.name, row.id, "superseded", f"run {row.superseded_by} took its place"))
        elif row.status != "FINISHED":
            remarks.append(Remark(row.name, row.id, row.status, row.reason or _state(row)))
    return Study("runs", "", ["run", *columns], [], groups, shown, list(rows), remarks, None)


def best_groups(study: Study, groups: Sequence[Group], most: int) -> list[Group]:
    """All groups in their order, or of more than `most` the best by the first metric, the best first."""
    if len(groups) <= most:
        return list(groups)
    worst = math.inf if study.lowest_first else -math.inf

    def mean(group: Group) -> float:
        found = estimate_of(group, study.metrics[0]) if study.metrics else None
        return worst if found is None else found.mean

    return sorted(groups, key=mean, reverse=not study.lowest_first)[:most]


def cells(study: Study, group: Group) -> list[str]:
    """A row of the table: the group's point, then each metric."""
    found = [shown_estimate(metric, estimate_of(group, metric)) for metric in study.metrics]
    point = [group.point[column] for column in study.columns]
    return [*(point if study.search is None else map(_rounded, point)), *found]


def comparison_cells(study: Study, comparison: Comparison) -> list[str]:
    """A row of the paired comparisons: both labels, difference, interval, replicates, corrected p."""
    found = comparison.difference.estimate
    mean, interval = shown_difference(study.metrics[0], found)
    return [comparison.first, comparison.second, mean, interval, str(found.n), shown_p(comparison.p)]


def default_metrics(rows: Sequence[ChildRow], search: Mapping[str, object] | None) -> list[str]:
    """The metrics that say most, of those the runs have; of a search its own first."""
    had = {name for row in rows for name in row.metrics}
    own = [str(search["metric"])] if search is not None else []
    chosen = [name for name in dict.fromkeys([*own, *_DEFAULT_METRICS]) if name in had]
    return chosen or [name for name in _BEFORE_A_TEST if name in had] or sorted(recorded_metrics(rows))[:4]


def recorded_metrics(rows: Sequence[ChildRow]) -> set[str]:
    """Names of all metrics of runs, but those of their machines."""
    return {name for row in rows for name in row.metrics if not name.startswith("system/")}


def value_of(run: ChildRow, metric: str) -> float | None:
    """A run's last value of a metric; None if it has none, or none that is finite."""
    value = run.metrics.get(metric, math.nan)
    return value if is_finite(value) else None


def is_finite(value: float) -> bool:
    """Whether a value is one to calculate with; for infinity MLflow keeps the largest number there is."""
    return abs(value) < sys.float_info.max


def estimate_of(group: Group, metric: str) -> Estimate | None:
    """Of a metric over the runs of a group; None if none has a finite value."""
    found = [value for run in group.runs if (value := value_of(run, metric)) is not None]
    return estimate(found) if found else None


def comparisons(study: Study) -> list[Comparison]:
    """All pairs of groups, or the best one against each other where there are many; none without replicates."""
    if not study.metrics or not study.replicates:
        return []
    metric = study.metrics[0]
    means = [(found.mean, group) for group in study.groups if (found := estimate_of(group, metric)) is not None]
    pairs: Iterator[tuple[Group, Group]]
    if len(means) <= _ALL_PAIRS_UP_TO:
        pairs = itertools.combinations([group for _, group in means], 2)
    else:
        best = (min if study.lowest_first else max)(means, key=lambda pair: pair[0])[1]
        pairs = ((best, group) for _, group in means if group is not best)
    compared: list[tuple[str, str, Difference]] = []
    for first, second in pairs:
        difference = paired(_by_replicate(study, first), _by_replicate(study, second))
        if difference is not None:
            compared.append((first.label, second.label, difference))
    corrected = holm([difference.p for _, _, difference in compared])
    return [
        Comparison(first, second, difference, p)
        for (first, second, difference), p in zip(compared, corrected, strict=True)
    ]


def lower_is_better(metric: str) -> bool:
    """By its name: losses, error rates, distances."""
    return not _LOWER_IS_BETTER.isdisjoint(re.split(r"[/_]", metric))


def label_of(point: Mapping[str, str]) -> str:
    """A point as in the names of runs, such as `cnn · k=5 · seed=1`."""
    return " · ".join(
        value if "." not in key and key not in ("seed", "trial") else f"{short(key)}={value}"
        for key, value in point.items()
    )


def short(key: str) -> str:
    """The last part of a config key; k is the papers' word for training pictures a person."""
    return "k" if key == "split.train_per_identity" else key.rpartition(".")[2].rpartition("/")[2]


def shown_value(metric: str, value: float, signed: bool = False) -> str:
    """A value of a metric; shares as percent."""
    sign = "+" if signed else ""
    if is_share(metric):
        return f"{100 * value:{sign}.1f}%"
    return f"{value:{sign}.{_decimals(value)}f}"


def shown_estimate(metric: str, found: Estimate | None) -> str:
    """`mean ± half-width (n)`; a single value alone."""
    if found is None:
        return ""
    if found.half_width is None:
        return shown_value(metric, found.mean)
    if is_share(metric):
        return f"{100 * found.mean:.1f} ± {100 * found.half_width:.1f}% ({found.n})"
    digits = _decimals(found.mean)
    return f"{found.mean:.{digits}f} ± {found.half_width:.{digits}f} ({found.n})"


def shown_difference(metric: str, found: Estimate) -> tuple[str, str]:
    """A difference with its sign, and its 95 % interval; of shares in points of percent."""
    mean, half_width = found.mean, found.half_width or 0.0
    unit, factor, digits = (" pp", 100, 1) if is_share(metric) else ("", 1, _decimals(max(abs(mean), half_width)))
    low, high = factor * (mean - half_width), factor * (mean + half_width)
    if found.half_width is None:
        return f"{factor * mean:+.{digits}f}{unit}", "–"
    return f"{factor * mean:+.{digits}f}{unit}", f"{low:+.{digits}f} to {high:+.{digits}f}"


def shown_p(p: float | None) -> str:
    """A p value; a dash where there is none."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def is_share(metric: str) -> bool:
    """Whether a metric is a share of something, shown as percent."""
    words = re.split(r"[/_]", metric)
    return not _SHARES.isdisjoint(words) and "over" not in words


def _decimals(value: float) -> int:
    """So that three digits are seen."""
    return 3 if value == 0 else min(9, max(0, 2 - math.floor(math.log10(abs(value)))))


def _by_replicate(study: Study, group: Group) -> dict[Hashable, float]:
    metric = study.metrics[0]
    return {
        tuple(run.point.get(axis, "") for axis in study.replicates): value
        for run in group.runs
        if (value := value_of(run, metric)) is not None
    }


def _rounded(text: str) -> str:
    """What a sampler has drawn, without the digits that say nothing."""
    try:
        return text if text.lstrip("-").isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text


def _rank(values: Sequence[str], value: str) -> int:
    return values.index(value) if value in values else len(values)


def _state(row: ChildRow) -> str:
    if row.status != "RUNNING":
        return "it gave no reason"
    silent_s = time.time() - row.alive_s
    return f"no sign of life for {silent_s:,.0f} s" if row.alive_s and silent_s > _SILENT_AFTER_S else "still training"


def _missing(sweep: SweepRow, rows: Sequence[ChildRow]) -> list[Remark]:
    """Points that no run stands for."""
    there = [row for row in rows if not row.superseded_by]
    if sweep.search is not None:
        asked = int(sweep.search["trials"])
        left = asked - len(there)
        return [Remark(f"{left} of {asked} trials", "", "missing", "not begun")] if left > 0 else []
    size = math.prod(len(values) for values in sweep.axes.values())
    if size > _MOST_MISSING:
        left = size - len(there)
        return [Remark(f"{left} of {size} points", "", "missing", "not begun")] if left > 0 else []
    begun = {tuple(row.point.get(axis, "") for axis in sweep.axes) for row in there}
    every = (dict(zip(sweep.axes, values, strict=True)) for values in itertools.product(*sweep.axes.values()))
    return [
        Remark(label_of(point), "", "missing", "not begun") for point in every if tuple(point.values()) not in begun
    ]


def _older(study: Study) -> list[Remark]:
    """Counted runs that another commit trained than the newest one's."""
    known = [row for row in study.rows if row.commit]
    counted = {run.id for run in study.counted}
    newest = known[-1].commit if known else ""
    return [
        Remark(row.name, row.id, "older", f"counts, but was trained by commit {row.commit[:9]}")
        for row in known
        if row.id in counted and row.commit != newest
    ]
