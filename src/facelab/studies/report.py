"""A study's page in Markdown: design, verdict, tables."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from facelab.compare.shown import shown_p
from facelab.compare.statistics import Difference, Estimate, least_difference
from facelab.config.build import nearest
from facelab.errors import ConfigError
from facelab.studies.generators import Beside
from facelab.studies.grid import Grid, Pair
from facelab.studies.registration import RegisteredStudy, Registration
from facelab.system import counted

ACCURACY, DIFFERENCES = "accuracy.svg", "differences.svg"
NOTHING = "No run has finished yet."
_NAMED_CELLS = 10
_NAMED_PEOPLE = 3


def refuse_holes(study: RegisteredStudy, grid: Grid) -> None:
    """Raise if a cell has no value.

    Raises:
        ConfigError: names the first of them.
    """
    lacking = [grid.valueless[place] for place in grid.missing if place in grid.valueless]
    if lacking:
        metric, one = study.plan.metric, lacking[0]
        raise ConfigError(
            f"study={study.folder.name}: {counted(len(lacking), 'run')} finished without a finite value of {metric}, "
            f"such as {one.id} ({one.name}).{nearest(metric, list(one.metrics))} To have them made again, delete them "
            f"on MLflow's page and type: python train.py {study.command}. For what there is, add partial=true."
        )
    if grid.missing:
        raise ConfigError(
            f"study={study.folder.name}: {_holes_in_words(study.plan, grid)} To finish them: python train.py "
            f"{study.command}. For what there is, add partial=true."
        )


def page(study: RegisteredStudy, grid: Grid | None, costs: Sequence[Beside] = (), sheets: Iterable[str] = ()) -> str:
    """The study in Markdown.

    Args:
        study: as registered.
        grid: of its runs; None if there is none.
        costs: of every arm under every condition, and the figures of its generators.
        sheets: arms that have a picture of their synthetic faces, see `sheet_file`.
    """
    if grid is None or not grid.values:
        return f"{_design(study)}\n\n{NOTHING}"
    parts = [_design(study), *_results(study.plan, grid)]
    if costs:
        parts += ["Beside the accuracy, means over replicates:", _costs(study.plan, grid, costs)]
    for arm in sheets:
        where = f"{study.plan.condition}={grid.conditions[0]}"
        parts.append(f"Real faces (left) and synthetic ones of `{study.plan.name(arm)}`, {where}:")
        parts.append(f"![Synthetic faces of {arm}]({sheet_file(arm)})")
    if commits := Counter(row.commit[:9] for row in grid.runs.values() if row.commit):
        made = ", ".join(f"{count} by commit {commit}" for commit, count in sorted(commits.items()))
        parts.append(f"Runs: {made}.")
    return "\n\n".join(parts)


def sheet_file(arm: str) -> str:
    """Name of the picture of an arm's synthetic faces."""
    return f"faces_{re.sub(r'[^A-Za-z0-9_-]', '', arm)}.png"


def verdict_in_words(plan: Registration, grid: Grid) -> str:
    """The question with its answers."""
    found = grid.differences(plan.rule.pairs(grid.conditions))
    answers = plan.rule.verdict(found, len(grid.replicates))
    said = "; ".join(
        f"**{answer}**" if not about else f"{_about(plan, about, grid)}: **{answer}**"
        for about, answer in answers.items()
    )
    return f"{plan.question} {said}."


def _about(plan: Registration, about: str, grid: Grid) -> str:
    return f"{plan.condition}={about}" if about in grid.conditions else f"`{about}`"


def _holes_in_words(plan: Registration, grid: Grid) -> str:
    total = len(grid.arms) * len(grid.conditions) * len(grid.replicates)
    some = [f"{plan.name(arm)} {plan.condition}={c} replicate {r}" for arm, c, r in grid.missing[:_NAMED_CELLS]]
    more = f" and {len(grid.missing) - _NAMED_CELLS} more" if len(grid.missing) > _NAMED_CELLS else ""
    return f"The grid is incomplete: {len(grid.missing)} of {total} cells are missing: {', '.join(some)}{more}."


def _design(study: RegisteredStudy) -> str:
    plan, replicates = study.plan, len(study.listed[study.plan.axes.replicate])
    rows = [
        [
            f"{one.replicates:g}",
            *([f"{one.people:g}"] if plan.of_people else []),
            f"{least_difference(one.replicates, replicates, one.people, plan.people):.1f}",
        ]
        for one in plan.expected
    ]
    head = ["standard deviation of paired differences, points"]
    head += [f"of the mean differences of {plan.people} people"] if plan.of_people else []
    return (
        "A difference can be told from 0 if it exceeds the half-width of its 95 % interval (Student's t), before the "
        f"correction for several comparisons:\n\n{_table([*head, f'half-width over {replicates} replicates'], rows)}"
    )


def _results(plan: Registration, grid: Grid) -> list[str]:
    conditions = [f"{plan.condition}={condition}" for condition in grid.conditions]
    over = "replicates and people" if plan.of_people else "replicates"
    parts = [
        *([f"**{_holes_in_words(plan, grid)}**"] if grid.missing else []),
        verdict_in_words(plan, grid),
        f"![Accuracy of the arms]({ACCURACY})",
        f"`{plan.metric}` in %, mean{' over people' if plan.of_people else ''} ± 95 % interval over replicates"
        + (" (in brackets their number, where some are missing)" if grid.missing else "")
        + ":",
        _accuracies(plan, grid, conditions),
        f"Differences, paired by replicate, in points{_turned(plan, grid)} ± 95 % interval over {over}, p corrected by "
        "Holm's method for all comparisons of this table:",
        _differences(plan, grid, plan.rule.pairs(grid.conditions), conditions),
        f"![Differences and their intervals]({DIFFERENCES})",
    ]
    if plan.beside:
        parts += ["Other arms, which decide nothing:", _differences(plan, grid, _beside(plan, grid), conditions)]
    if plan.of_people:
        parts += [
            f"Who makes the differences: with intervals over replicates alone, and the {_NAMED_PEOPLE} people whose "
            "own differences are largest, means over replicates in points:",
            _who(plan, grid),
        ]
    return parts


def _beside(plan: Registration, grid: Grid) -> list[Pair]:
    return [(arm, plan.rule.arms[0], condition) for arm in plan.beside for condition in grid.conditions]


def _who(plan: Registration, grid: Grid) -> str:
    rows = []
    for pair in (*plan.rule.pairs(grid.conditions), *_beside(plan, grid)):
        one, other, condition = pair
        people = sorted(grid.of_each_person(pair).items(), key=lambda item: (-abs(item[1]), item[0]))
        named = ", ".join(f"{person} {100 * gain:+.1f}" for person, gain in people[:_NAMED_PEOPLE])
        names = f"`{plan.name(one)}` less `{plan.name(other)}`"
        rows.append([names, condition, _difference(grid.of_replicates(pair), None), named or "-"])
    return _table(["", plan.condition, "over replicates alone", "people"], rows)


def _turned(plan: Registration, grid: Grid) -> str:
    return f" by which `{plan.metric}` is lower, so better, in the first," if grid.lower_is_better else ""


def _costs(plan: Registration, grid: Grid, costs: Sequence[Beside]) -> str:
    first = plan.rule.arms[0]
    gains = grid.differences([(one.arm, first, one.condition) for one in costs if one.arm != first])
    rows = []
    for one in costs:
        gain, _ = gains.get((one.arm, first, one.condition), (None, None))
        minutes = ["-" if value is None else f"{value:.1f}" for value in (one.minutes, one.generator_minutes)]
        rows.append(
            [f"`{plan.name(one.arm)}`", one.condition, _difference(gain, None), *minutes, *one.metrics.values()]
        )
    names = [name.removeprefix("generation/") for name in costs[0].metrics]
    return _table(
        ["", plan.condition, f"less `{plan.name(first)}`", "minutes", "minutes of the generator", *names], rows
    )


def _accuracies(plan: Registration, grid: Grid, conditions: Sequence[str]) -> str:
    planned = len(grid.replicates)
    rows = [
        [f"`{plan.name(arm)}`", *(_accuracy(grid.estimate(arm, c), planned) for c in grid.conditions)]
        for arm in grid.arms
    ]
    return _table(["", *conditions], rows)


def _accuracy(found: Estimate | None, planned: int) -> str:
    """Mean and interval in percent, and the number of replicates if some are missing."""
    if found is None:
        return "-"
    interval = "" if found.half_width is None else f" ± {100 * found.half_width:.1f}"
    return f"{100 * found.mean:.1f}{interval}{f' ({found.n})' if found.n < planned else ''}"


def _differences(plan: Registration, grid: Grid, pairs: Sequence[Pair], conditions: Sequence[str]) -> str:
    found = grid.differences(pairs)
    lines = dict.fromkeys((first, second) for first, second, _ in pairs)
    rows = [
        [f"`{plan.name(a)}` less `{plan.name(b)}`", *(_difference(*found[a, b, c]) for c in grid.conditions)]
        for a, b in lines
    ]
    return _table(["", *conditions], rows)


def _difference(found: Difference | None, p: float | None) -> str:
    if found is None:
        return "-"
    mean, half = 100 * found.estimate.mean, found.estimate.half_width
    interval = "" if half is None else f" ± {100 * half:.1f}"
    return f"{mean:+.1f}{interval}" + ("" if p is None else f" (p {shown_p(p)})")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
