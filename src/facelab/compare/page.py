"""A comparison as one self-contained HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facelab.compare.answer import answer
from facelab.compare.charts import (
    Chart,
    curve_charts,
    people_charts,
    result_charts,
    roc_charts,
    search_charts,
    search_summary,
)
from facelab.compare.html import render, svg_uri
from facelab.compare.images import images
from facelab.compare.ranking import best_groups, leader
from facelab.compare.recorded import Recorded
from facelab.compare.table import Study, cells, comparison_cells, comparisons
from facelab.compare.written import COMPARISON_HEADINGS, provenance

_MOST_GROUPS = 200
_MOST_TRIALS = 30
_MOST_REMARKS = 200


@dataclass(frozen=True)
class Page:
    """The page of a comparison.

    Args:
        html: its text.
        charts: on it, the most telling first.
    """

    html: str
    charts: list[Chart]


def page(study: Study, recorded: Recorded) -> Page:
    """Render the HTML page of a comparison.

    Args:
        study: the runs to compare.
        recorded: reads their curves, images and tables.

    Raises:
        TrackingError: the store cannot be read.
    """
    groups = best_groups(study, study.groups, _MOST_GROUPS if study.search is None else _MOST_TRIALS)
    best = leader(study)
    results, searched = result_charts(study), search_charts(study)
    roc, people = roc_charts(study, recorded), people_charts(study, recorded)
    curves = curve_charts(study, recorded)
    html = render(
        Path(__file__).parent / "page.html",
        title=study.title,
        study=study,
        answer=answer(study),
        provenance=provenance(study),
        rows=[{"cells": cells(study, group), "best": group is best and len(groups) > 1} for group in groups],
        notes=_notes(study),
        results=_shown(results),
        compared=[comparison_cells(study, comparison) for comparison in comparisons(study)],
        comparison_headings=COMPARISON_HEADINGS,
        search=search_summary(study),
        searched=_shown(searched),
        roc=_shown(roc),
        people=_shown(people),
        curves=_shown(curves),
        images=images(study, recorded),
        remarks=study.remarks[:_MOST_REMARKS],
    )
    return Page(html, [*results, *searched, *roc, *people, *curves])


def _shown(charts: Sequence[Chart]) -> list[dict[str, Any]]:
    return [{"title": chart.title, "uri": svg_uri(chart.svg)} for chart in charts]


def _notes(study: Study) -> list[str]:
    notes = []
    if {"split.seed", "split.fold"} & set(study.replicates):
        notes.append(
            "The splits share images, so their results are not independent: intervals over splits are somewhat too "
            "narrow."
        )
    return notes
