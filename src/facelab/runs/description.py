"""The description of a run in Markdown, on which its page in MLflow opens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits
from facelab.protocols.base import Report
from facelab.tracking import RunPage, note

_PARTS = {"train": "for training", "val": "for validation", "test": "for the test"}
_CHARACTERS_OF_COMMAND = 1500
_MOST_NOTES, _MOST_ROWS = 5, 15
_HEADING_CHARACTERS = 30
_SEEDS = "1,2,3"
_EVALUATION = "facelab evaluate"
_TRAINING = re.compile(r"facelab train|python train\.py")


@dataclass(frozen=True)
class Described:
    """What is said of a run from its start on.

    Args:
        opening: what it trains or evaluates, in Markdown.
        command: the command line that makes it again; empty if it was not started by one.
        page: its addresses in MLflow.
    """

    opening: str
    command: str
    page: RunPage


def opening_of_training(model: str, faces: FaceSet, splits: Splits, total_images: int, seed: int) -> str:
    """Model, data, split and length of a training in one sentence.

    Args:
        model: name of its class.
        faces: the face set.
        splits: train, val and test.
        total_images: length of the run.
        seed: of the run.
    """
    return (
        f"**{note.plain(model)}** trained on **{note.plain(faces.name)}**: {_counts(faces, splits)}. "
        f"{total_images:,} images seen, seed {seed}."
    )


def opening_of_evaluation(run: str, run_id: str, faces: FaceSet, splits: Splits) -> str:
    """The evaluated run, data and split of an evaluation in one sentence.

    Args:
        run: name of the evaluated run.
        run_id: its id.
        faces: the face set.
        splits: train, val and test.
    """
    link = f"[{note.plain(run)}]({RunPage(run_id, '').address})"
    return f"Evaluation of {link} on **{note.plain(faces.name)}**: {_counts(faces, splits)}."


def sentence_on_synthetic(what: str, images: int, new_classes: int, generator: str | None) -> str:
    """What synthetic faces a run is trained on, in a sentence of Markdown.

    Args:
        what: the faces in a few words.
        images: number of faces.
        new_classes: number of classes that only they show.
        generator: id of the run that generated them; None if none did.
    """
    by = "" if generator is None else f", by run [{generator}]({RunPage(generator, '').address})"
    added = f" in {new_classes:,} new classes" if new_classes else ""
    return f"Beside the real images it is trained on {images:,} {what}{added}{by}."


def describe_start(described: Described) -> str:
    """The description of a run that has no results yet."""
    waiting = "No results yet: they appear here once the run has finished. Until then, *Model metrics* has its curves."
    return note.within_limit([described.opening, waiting], [], _again(described))


def describe_end(described: Described, reports: Sequence[Report], remarks: Sequence[str], pictures: str) -> str:
    """The description of a finished run: results with intervals, pictures, how to make it again, and what to do next.

    Tables that would exceed the length of a description are left out, the last ones first.

    Args:
        described: what is said from the start on.
        reports: of the protocols.
        remarks: what to know about the results, a sentence or two each.
        pictures: Markdown of up to three pictures.
    """
    tables = [_table(report) for report in reports]
    warnings = "\n".join(f"- Note: {note.plain(remark)}" for remark in remarks[:_MOST_NOTES])
    last = [warnings, pictures, *_again(described), _next_steps(described, reports)]
    return note.within_limit([described.opening, *tables[:1]], tables[1:], last)


def _counts(faces: FaceSet, splits: Splits) -> str:
    known = faces.has_identities
    parts = []
    for part, indices in splits.items():
        if len(indices):
            people = f" of {len(np.unique(faces.identities[indices])):,} people" if known else ""
            parts.append(f"{len(indices):,} images{people} {_PARTS[part]}")
    return ", ".join(parts)


def _table(report: Report) -> str:
    """The table of a report; its title is the heading of the first column, or above it if it is long."""
    title = report.table.title
    is_long = len(title) > _HEADING_CHARACTERS
    head = ["" if is_long else title, *report.table.columns[1:]]
    rows = [list(row) for row in report.table.rows[:_MOST_ROWS]]
    more = len(report.table.rows) - len(rows)
    table = note.table([head, *rows, *([[f"and {more} more rows", *[""] * (len(head) - 1)]] if more else [])])
    return f"**{note.plain(title)}**\n\n{table}" if is_long else table


def _again(described: Described) -> list[str]:
    command = described.command
    if not command or len(command) > _CHARACTERS_OF_COMMAND:
        return []
    return [f"Make it again:\n\n{note.command_block(command)}"]


def _next_steps(described: Described, reports: Sequence[Report]) -> str:
    run_id, command = described.page.run_id, described.command
    names = {name for report in reports for name in report.metrics}
    steps = {
        "Its files": f"[Artifacts]({described.page.viewer('pictures')}); its curves: *Model metrics*",
        "Beside other runs": note.inline_code(f"facelab compare 'runs=[{run_id},<run id>]'"),
    }
    training = _TRAINING.match(command)
    if training is not None:
        if " seed=" not in command and len(command) < _CHARACTERS_OF_COMMAND:
            again = f"{training[0]} -m{command[training.end() :]} seed={_SEEDS}"
            steps["Three seeds, to see how much is chance"] = note.inline_code(again)
        if any(name.startswith("generation/") for name in names):
            steps["More faces"] = note.inline_code(f"facelab generate run={run_id} n=64 out=samples")
        faces = "data=folder data.root=<folder> split=all protocol=verification"
        steps["On other faces"] = note.inline_code(f"{_EVALUATION} run={run_id} {faces}")
    return "Next:\n\n" + "\n".join(f"- {title}: {text}" for title, text in steps.items())
