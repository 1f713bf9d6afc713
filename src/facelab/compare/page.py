"""A comparison as one self-contained HTML file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facelab.compare import figures
from facelab.compare.figures import Band, Curve
from facelab.compare.html import data_uri, render, svg_uri
from facelab.compare.search import importances
from facelab.compare.shown import is_finite, short, shown_value
from facelab.compare.table import Group, Study, best_groups, cells, comparison_cells, comparisons, estimate_of
from facelab.compare.written import COMPARISON_HEADINGS, provenance
from facelab.tracking import ChildRow

Histories = Callable[[Sequence[str], str], Mapping[str, Curve]]
Pictures = Callable[[ChildRow, Sequence[str]], Mapping[str, bytes]]

_SHOWN_PICTURES = {
    "confusion_matrix": "Confusion matrix",
    "samples": "Generated faces",
    "reconstructions": "Held-out faces and their reconstructions",
}
_CURVE_METRICS = ("val/f1", "val/accuracy")
_MOST_GROUPS = 200
_MOST_TRIALS = 30
_MOST_DOTS = 40
_MOST_BANDS = 8
_MOST_SINGLE = 4
_MOST_AXES = 4
_MOST_REMARKS = 200


def page(study: Study, histories: Histories, pictures: Pictures) -> str:
    """Render the HTML page of a comparison.

    Args:
        study: the runs to compare.
        histories: returns the curves of a metric by run id, for a list of ids.
        pictures: returns a run's images by name, as PNG, for a list of names.
    """
    groups = best_groups(study, study.groups, _MOST_GROUPS if study.search is None else _MOST_TRIALS)
    best = _best_group(study)
    return render(
        Path(__file__).parent / "page.html",
        title=study.title,
        study=study,
        provenance=provenance(study),
        rows=[{"cells": cells(study, group), "best": group is best and len(groups) > 1} for group in groups],
        notes=_notes(study),
        dots=_dots(study),
        compared=[comparison_cells(study, comparison) for comparison in comparisons(study)],
        comparison_headings=COMPARISON_HEADINGS,
        search=_search(study),
        curves=_curves(study, histories),
        shown=_images(study, pictures),
        remarks=study.remarks[:_MOST_REMARKS],
    )


def _notes(study: Study) -> list[str]:
    notes = []
    if {"split.seed", "split.fold"} & set(study.replicates):
        notes.append(
            "The splits share images, so their results are not independent: intervals over splits are somewhat too "
            "narrow."
        )
    return notes


def _best_group(study: Study) -> Group | None:
    having = [(found.mean, group) for group in study.groups if (found := _first(study, group)) is not None]
    return (min if study.lowest_first else max)(having, key=lambda pair: pair[0])[1] if having else None


def _first(study: Study, group: Group) -> Any:
    return estimate_of(group, study.metrics[0]) if study.metrics else None


def _dots(study: Study) -> str:
    if study.search is not None:
        return ""
    having = [
        (group.label, found)
        for group in best_groups(study, study.groups, _MOST_DOTS)
        if (found := _first(study, group))
    ]
    if len(having) < 2:
        return ""
    labels, estimates = [label for label, _ in having], [found for _, found in having]
    return svg_uri(figures.dots(labels, estimates, study.metric(study.metrics[0])))


def _search(study: Study) -> dict[str, Any] | None:
    ranked = study.ranked
    if study.search is None or not ranked or study.metrics[0] != study.search["metric"]:
        return None
    metric, best = study.metrics[0], ranked[0]
    point = ", ".join(f"{key}={value}" for key, value in best.point.items())
    order = sorted(ranked, key=lambda run: run.trial or 0)
    shares = importances(study)
    drawn = [
        (
            "Optimisation history",
            figures.optimisation(
                [run.trial or 0 for run in order],
                [run.metrics[metric] for run in order],
                study.metric(metric),
                study.lowest_first,
            ),
        )
    ]
    if shares:
        drawn.append(
            ("Importance of the parameters for reaching the best trials (PED-ANOVA)", figures.importance(shares))
        )
    if len(ranked) > 1 and best.point:
        drawn.append(
            (
                "Parallel coordinates: better trials are darker",
                figures.parallel_coordinates(
                    [{column: run.point.get(column, "") for column in study.columns[1:]} for run in ranked],
                    [run.metrics[metric] for run in ranked],
                    study.metric(metric),
                    study.lowest_first,
                ),
            )
        )
    return {
        "summary": f"Best of {len(ranked)} finished trials: trial {best.trial} ({best.id}) with {metric} = "
        f"{shown_value(study.metric(metric), best.metrics[metric])} at {point}.",
        "pictures": [(name, svg_uri(picture)) for name, picture in drawn],
    }


def _curves(study: Study, histories: Histories) -> list[tuple[str, str]]:
    """Learning curves, one chart for each axis of a sweep; a single chart for runs without axes."""
    had = {name for run in study.counted for name in run.metrics}
    first = [name for name in study.metrics[:1] if name.startswith("val/")]
    metrics = [name for name in dict.fromkeys([*first, *_CURVE_METRICS]) if name in had]
    metrics = metrics or sorted(name for name in had if name.startswith(("val/", "train/")) and "loss" in name)[:1]
    pictures = []
    for metric in metrics:
        recorded = histories([run.id for run in study.counted], metric)
        finite = {run_id: [point for point in curve if is_finite(point[1])] for run_id, curve in recorded.items()}
        curves = {run_id: curve for run_id, curve in finite.items() if curve}
        for title, bands in _bands(study, curves):
            if any(len(curve) > 1 for band in bands for curve in band.curves):
                drawn = figures.learning_curves(bands, study.metric(metric), title)
                pictures.append((f"{metric} {title}".strip(), svg_uri(drawn)))
    return pictures


def _bands(study: Study, curves: Mapping[str, Curve]) -> list[tuple[str, list[Band]]]:
    if study.of_single_runs:
        groups = [group for group in best_groups(study, study.groups, _MOST_BANDS) if group.runs[0].id in curves]
        return [("", [Band(group.label, [curves[group.runs[0].id]]) for group in groups])] if groups else []
    axes = [column for column in study.columns if column != "trial"]
    found = []
    for axis in axes[:_MOST_AXES]:
        by_value: dict[str, list[ChildRow]] = {}
        for group in study.groups:
            by_value.setdefault(group.point[axis], []).extend(group.runs)
        if len(by_value) < 2 or (study.search is not None and len(by_value) > _MOST_BANDS):
            continue
        groups = [Group({axis: value}, runs) for value, runs in by_value.items()]
        kept = {group.point[axis] for group in best_groups(study, groups, _MOST_BANDS)}
        bands = [
            Band(f"{short(axis)}={group.point[axis]}", [curves[run.id] for run in group.runs if run.id in curves])
            for group in groups
            if group.point[axis] in kept
        ]
        found.append((f"by {axis}", [band for band in bands if band.curves]))
    if study.search is not None:
        ranked = [run for run in study.ranked if run.id in curves]
        if ranked:
            best, median = ranked[0], ranked[len(ranked) // 2]
            all_trials = Band("all trials", [curves[run.id] for run in ranked])
            named = [Band(f"best, trial {best.trial}", [curves[best.id]])]
            named += [Band(f"median, trial {median.trial}", [curves[median.id]])] if median is not best else []
            found.insert(0, ("", [all_trials, *named]))
    elif not found:
        found = [("", [Band("all", list(curves.values()))])] if curves else []
    return [(title, bands) for title, bands in found if bands]


def _images(study: Study, pictures: Pictures) -> list[tuple[str, list[tuple[str, str]]]]:
    """Images of the best and the median run side by side, or of all runs if they are few and not of a sweep."""
    ranked = study.ranked
    if not ranked:
        return []
    chosen = [("best: ", ranked[0])] + ([("median: ", ranked[len(ranked) // 2])] if len(ranked) > 1 else [])
    if study.of_single_runs and len(ranked) <= _MOST_SINGLE:
        chosen = [("", run) for run in ranked]
    found = [(rank, run, pictures(run, list(_SHOWN_PICTURES))) for rank, run in chosen]
    shown = []
    metric = study.metrics[0]
    for key, name in _SHOWN_PICTURES.items():
        row = [
            (
                f"{rank}{run.name}, {shown_value(study.metric(metric), run.metrics[metric])} ({run.id})",
                data_uri("image/png", own[key]),
            )
            for rank, run, own in found
            if key in own
        ]
        if row:
            shown.append((name, row))
    return shown
