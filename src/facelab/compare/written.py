"""Write a comparison as CSV and Markdown."""

import csv
import io
import math

from facelab.compare.ranking import best_groups
from facelab.compare.table import Study, cells, comparison_cells, comparisons, recorded_metrics

COMPARISON_HEADINGS = ("", "compared with", "difference", "95 % interval", "pairs", "p (Holm)")
_MARKDOWN_GROUPS = 100
_MARKDOWN_REMARKS = 50


def as_csv(study: Study) -> str:
    """CSV with a row for every run, also those that do not count, and the last values of all its metrics."""
    counted = {run.id for run in study.counted}
    metrics = sorted(recorded_metrics(study.rows), key=lambda name: (name not in study.metrics, name))
    points = list(dict.fromkeys(key for row in study.rows for key in row.point))
    # Runs outside a sweep have no point; they differ in params.
    params = [column for column in study.columns if column not in (*points, "trial", "run")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["id", "name", "status", "counts", "reason", "superseded_by", "commit", "trial", *points, *params, *metrics]
    )
    for row in study.rows:
        fields = [
            row.id,
            row.name,
            row.status,
            str(row.id in counted).lower(),
            row.reason,
            row.superseded_by,
            row.commit,
        ]
        values = [row.metrics.get(name, math.nan) for name in metrics]
        writer.writerow(
            [
                *fields,
                "" if row.trial is None else row.trial,
                *(row.point.get(key, "") for key in points),
                *(row.params.get(key, "") for key in params),
                *("" if math.isnan(value) else repr(value) for value in values),
            ]
        )
    return text.getvalue()


def as_markdown(study: Study, answer: str) -> str:
    """Markdown with the answer, all tables, the command and the commits of the runs."""
    parts = [f"## {study.title[:1].upper()}{study.title[1:]}", *([f"**{answer}**"] if answer else [])]
    if study.command:
        parts.append(f"```\n{study.command}\n```")
    parts.append(provenance(study))
    groups = best_groups(study, study.groups, _MARKDOWN_GROUPS)
    if groups:
        parts.append(_table([*study.columns, *study.metrics], [cells(study, group) for group in groups]))
    if len(groups) < len(study.groups):
        parts.append(f"The best {len(groups)} of {len(study.groups)}.")
    compared = [comparison_cells(study, comparison) for comparison in comparisons(study)]
    if compared:
        parts.append(f"Paired comparisons of {study.metrics[0]}:")
        parts.append(_table(COMPARISON_HEADINGS, compared))
    if study.remarks:
        rows = [[one.name, one.status, one.reason, one.id] for one in study.remarks[:_MARKDOWN_REMARKS]]
        parts.append(_table(("run", "status", "why", "id"), rows))
        if len(study.remarks) > _MARKDOWN_REMARKS:
            parts.append(f"And {len(study.remarks) - _MARKDOWN_REMARKS} more.")
    return "\n\n".join(parts) + "\n"


def provenance(study: Study) -> str:
    """One paragraph on the number of runs by status, their commits, and the replicates of the intervals."""
    states = ", ".join(f"{count} {state.lower()}" for state, count in study.states.items())
    text = f"{_runs(len(study.rows))}: {states}."
    commits = study.commits
    if len(commits) == 1:
        text += f" Commit {next(iter(commits))[:12]}."
    elif commits:
        text += f" Commits {', '.join(f'{commit[:12]} ({_runs(count)})' for commit, count in commits.items())}."
    if study.replicates:
        text += f" Mean ± half of the 95 % interval (number of runs) over {' and '.join(study.replicates)}."
    return text


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"


def _table(headings: tuple[str, ...] | list[str], rows: list[list[str]]) -> str:
    lines = [list(headings), ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
