"""The charts of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facelab.compare import figures
from facelab.compare.figures import Band, Dots
from facelab.compare.people import per_class, per_class_accuracy
from facelab.compare.ranking import best_groups, has_value, ranked_groups
from facelab.compare.recorded import Curve, Recorded
from facelab.compare.roc import roc_band, roc_curves
from facelab.compare.search import importances
from facelab.compare.shown import is_finite, short, shown_value
from facelab.compare.statistics import estimate
from facelab.compare.table import Group, Study, value_of
from facelab.metrics import Metric
from facelab.tracking import ChildRow

_CURVE_METRICS = ("val/f1", "val/accuracy")
_MOST_DOTS = 40
_MOST_BANDS = 8
_MOST_AXES = 4
_MOST_OF_PEOPLE = 4


@dataclass(frozen=True)
class Chart:
    """A chart.

    Args:
        title: what it shows.
        svg: the drawing.
    """

    title: str
    svg: str


def result_charts(study: Study) -> list[Chart]:
    """Means of the first metric with intervals, unless there are fewer than two or they are trials of a search."""
    if study.search is not None or not study.metrics:
        return []
    metric = study.metrics[0]
    groups = best_groups(study, [group for group in study.groups if has_value(study, group)], _MOST_DOTS)
    if len(groups) < 2:
        return []
    shown = study.metric(metric)
    return [Chart(f"{metric} of each setting", figures.dots([_dots(group, shown) for group in groups], shown))]


def _dots(group: Group, metric: Metric) -> Dots:
    """A row of the dot plot. The interval is over the runs, within [0, 1] for a share; that of a single run is its own,
    over its test people.
    """
    values = [value for run in group.runs if (value := value_of(run, metric.name)) is not None]
    own = [value_of(group.runs[0], f"{metric.name}{end}") for end in ("_low", "_high")]
    if len(values) == 1 and own[0] is not None and own[1] is not None:
        return Dots(group.label, values, own[0], own[1])
    found = estimate(values)
    low, high = found.mean - (found.half_width or 0.0), found.mean + (found.half_width or 0.0)
    within = (max(low, 0.0), min(high, 1.0)) if metric.unit == "share" else (low, high)
    return Dots(group.label, values, *within)


def search_summary(study: Study) -> str:
    """The best trial of a search in one sentence; empty without one."""
    ranked = study.ranked
    if study.search is None or not ranked or study.metrics[0] != study.search["metric"]:
        return ""
    metric, best = study.metrics[0], ranked[0]
    point = ", ".join(f"{key}={value}" for key, value in best.point.items())
    value = shown_value(study.metric(metric), best.metrics[metric])
    return f"Best of {len(ranked)} finished trials: trial {best.trial} ({best.id}) with {metric} = {value} at {point}."


def search_charts(study: Study) -> list[Chart]:
    """History, parameter importances and parallel coordinates of a search; empty where `search_summary` is."""
    if not search_summary(study):
        return []
    ranked, metric = study.ranked, study.metrics[0]
    order = sorted(ranked, key=lambda run: run.trial or 0)
    trials, values = [run.trial or 0 for run in order], [run.metrics[metric] for run in order]
    shares = importances(study)
    history = figures.optimisation(trials, values, study.metric(metric), study.lowest_first)
    drawn = [Chart("Optimisation history", history)]
    if shares:
        title = "Importance of the parameters for reaching the best trials (PED-ANOVA)"
        drawn.append(Chart(title, figures.importance(shares)))
    if len(ranked) > 1 and ranked[0].point:
        points = [{column: run.point.get(column, "") for column in study.columns[1:]} for run in ranked]
        values = [run.metrics[metric] for run in ranked]
        lines = figures.parallel_coordinates(points, values, study.metric(metric), study.lowest_first)
        drawn.append(Chart("Parallel coordinates: better trials are darker", lines))
    return drawn


def roc_charts(study: Study, recorded: Recorded) -> list[Chart]:
    """ROC curves of the best settings that verify people, in one plot.

    Raises:
        TrackingError: the store cannot be read.
    """
    bands = [roc_band(group, recorded) for group in ranked_groups(study, study.groups, _MOST_BANDS)]
    drawn = [band for band in bands if band is not None]
    return [Chart("ROC curves", roc_curves(drawn))] if drawn else []


def people_charts(study: Study, recorded: Recorded) -> list[Chart]:
    """Accuracy by class of the best settings, and of the worst classes by name.

    Raises:
        TrackingError: the store cannot be read.
    """
    found = [per_class(group, recorded) for group in ranked_groups(study, study.groups, _MOST_OF_PEOPLE)]
    settings = [one for one in found if one is not None]
    return [Chart("Accuracy by class", per_class_accuracy(settings))] if settings else []


def curve_charts(study: Study, recorded: Recorded) -> list[Chart]:
    """Learning curves, one chart for each axis of a sweep; a single chart for runs without axes.

    Raises:
        TrackingError: the store cannot be read.
    """
    had = {name for run in study.counted for name in run.metrics}
    first = [name for name in study.metrics[:1] if name.startswith("val/")]
    metrics = [name for name in dict.fromkeys([*first, *_CURVE_METRICS]) if name in had]
    metrics = metrics or sorted(name for name in had if name.startswith(("val/", "train/")) and "loss" in name)[:1]
    drawn = []
    for metric in metrics:
        read = recorded.curves([run.id for run in study.counted], metric)
        finite = {run_id: [point for point in curve if is_finite(point[1])] for run_id, curve in read.items()}
        curves = {run_id: curve for run_id, curve in finite.items() if curve}
        for title, bands in _bands(study, curves):
            if any(len(curve) > 1 for band in bands for curve in band.curves):
                lines = figures.learning_curves(bands, study.metric(metric), title)
                drawn.append(Chart(f"{metric} {title}".strip(), lines))
    return drawn


def _bands(study: Study, curves: Mapping[str, Curve]) -> list[tuple[str, list[Band]]]:
    if study.of_single_runs:
        groups = [group for group in best_groups(study, study.groups, _MOST_BANDS) if group.runs[0].id in curves]
        return [("", [Band(group.label, [curves[group.runs[0].id]]) for group in groups])] if groups else []
    found = [bands for axis in _axes(study)[:_MOST_AXES] if (bands := _bands_by(study, axis, curves))]
    if study.search is not None:
        ranked = [run for run in study.ranked if run.id in curves]
        if ranked:
            found.insert(0, ("", _bands_of_trials(ranked, curves)))
    elif not found:
        found = [("", [Band("all", list(curves.values()))])] if curves else []
    return [(title, bands) for title, bands in found if bands]


def _axes(study: Study) -> list[str]:
    return [column for column in study.columns if column != "trial"]


def _bands_by(study: Study, axis: str, curves: Mapping[str, Curve]) -> tuple[str, list[Band]] | None:
    """A band for each value of an axis; None if it has a single one, or too many."""
    by_value: dict[str, list[ChildRow]] = {}
    for group in study.groups:
        by_value.setdefault(group.point[axis], []).extend(group.runs)
    if len(by_value) < 2 or (study.search is not None and len(by_value) > _MOST_BANDS):
        return None
    groups = [Group({axis: value}, runs) for value, runs in by_value.items()]
    kept = {group.point[axis] for group in best_groups(study, groups, _MOST_BANDS)}
    bands = [
        Band(f"{short(axis)}={group.point[axis]}", [curves[run.id] for run in group.runs if run.id in curves])
        for group in groups
        if group.point[axis] in kept
    ]
    return f"by {axis}", [band for band in bands if band.curves]


def _bands_of_trials(ranked: Sequence[ChildRow], curves: Mapping[str, Curve]) -> list[Band]:
    best, median = ranked[0], ranked[len(ranked) // 2]
    named = [Band(f"best, trial {best.trial}", [curves[best.id]])]
    named += [Band(f"median, trial {median.trial}", [curves[median.id]])] if median is not best else []
    return [Band("all trials", [curves[run.id] for run in ranked]), *named]
