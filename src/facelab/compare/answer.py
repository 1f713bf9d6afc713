"""What a comparison says: which setting is best, and whether the difference to the next is more than chance."""

import shlex
from collections.abc import Sequence

from facelab.compare.charts import Chart, search_summary
from facelab.compare.ranking import best_groups, best_run, has_value, leader, ranked_groups, uneven
from facelab.compare.shown import shown_difference, shown_estimate, shown_p
from facelab.compare.statistics import Estimate
from facelab.compare.table import Comparison, Group, Study, cells, comparisons, estimate_of
from facelab.compare.written import provenance
from facelab.tracking import RunPage, note

PAGE = "comparison.html"
PICTURES = "pictures"  # folder among the artifacts
SHOWN_CHARTS = 3
_LEVEL = 0.05
_MOST_ROWS = 20


def answer(study: Study) -> str:
    """The answer in one to three sentences; empty if no run has finished."""
    if study.search is not None:
        return search_summary(study)
    having = [group for group in study.groups if has_value(study, group)]
    if not having:
        return ""
    metric = study.metrics[0]
    best, *others = ranked_groups(study, having, 2)
    found = shown_estimate(study.metric(metric), estimate_of(best, metric))
    if not others:
        return f"{metric}: {found}."
    sense = ", where lower is better" if study.lowest_first else ""
    title = "Best" if leader(study) is best else "Undecided, since the next is better where both have runs. Best mean"
    text = f"{title}: {best.label}, with {metric} {found}{sense}. {_against(study, best, others[0])}"
    return f"{text} {uneven(study)}".rstrip()


def sweep_note(study: Study, page: RunPage, sweep: str, charts: Sequence[Chart]) -> str:
    """The description of a sweep's parent run: its answer, table and charts, its command, and what to look at next.

    Args:
        study: the comparison of its runs.
        page: the parent run's addresses in MLflow.
        sweep: its name.
        charts: those recorded as `pictures/<number>.svg`, from 1 on.
    """
    shown = " ".join(
        page.picture(f"{PICTURES}/{number}.svg", chart.title) for number, chart in enumerate(charts, start=1)
    )
    groups = best_groups(study, study.groups, _MOST_ROWS)
    rows = [[*study.columns, *study.metrics], *(cells(study, group) for group in groups)]
    text = answer(study)
    first = [f"**{note.plain(text)}**" if text else "No run has finished yet.", note.plain(provenance(study))]
    tables = [note.table(rows)] if groups else []
    last = [
        shown,
        f"Make it again:\n\n{note.command_block(study.command)}" if study.command else "",
        _next(study, page, sweep),
    ]
    return note.within_limit(first, tables, last)


def _next(study: Study, page: RunPage, sweep: str) -> str:
    steps = {"All of it on one page": f"[{PAGE}]({page.viewer(PAGE)})"}
    first = leader(study)
    if first is not None:
        best = best_run(study, first)
        link = RunPage(best.id, page.experiment_id).address
        steps["The best run of the best setting"] = f"[{note.plain(best.name)}]({link})"
    command = f"facelab compare {shlex.quote(f'sweep={sweep}')}"
    steps["With other metrics"] = note.inline_code(f"{command} 'metrics=[...]'")
    steps["As a table for pandas"] = note.inline_code(f"{command} format=csv")
    return "Next:\n\n" + "\n".join(f"- {title}: {text}" for title, text in steps.items())


def _against(study: Study, best: Group, other: Group) -> str:
    """The paired difference of the best setting and the next one, and whether chance explains it."""
    if not study.replicates:
        runs = "These are single runs" if study.of_single_runs else "Each setting has one run"
        return f"{runs}, so chance may explain the difference to the next, {other.label}."
    found = next((one for one in comparisons(study) if {one.first, one.second} == {best.label, other.label}), None)
    if found is None:
        return (
            f"The next, {other.label}, shares no {' or '.join(study.replicates)} with it, so they cannot be compared."
        )
    difference = found.difference.estimate
    if found.first != best.label:
        difference = Estimate(-difference.mean, difference.half_width, difference.n)
    mean, interval = shown_difference(study.metric(study.metrics[0]), difference)
    on = f"on the same {' and '.join(study.replicates)}"
    if found.p is None:
        return f"Against the next, {other.label}, it is {mean} {on}: {_undecided(found)}."
    verdict = "more than chance explains" if found.p < _LEVEL else "which chance may explain"
    figures = f"95 % interval {interval}, {difference.n} pairs, p {_compared(shown_p(found.p))} corrected"
    return f"Against the next, {other.label}, it is {mean} {on} ({figures}), {verdict}."


def _undecided(found: Comparison) -> str:
    pairs = found.difference.estimate.n
    return "a single pair, which says nothing of chance" if pairs == 1 else f"the same in all {pairs} pairs"


def _compared(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"
