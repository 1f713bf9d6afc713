"""A run's task and results in Markdown, for its page in MLflow."""

from collections.abc import Sequence

from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits
from facelab.protocols.base import Report


def describe_task(model: str, faces: FaceSet, splits: Splits, total_images: int) -> str:
    """Model, data, split and length of a run.

    Args:
        model: name of its class.
        faces: the face set.
        splits: train, val and test.
        total_images: length of the run.
    """
    return (
        f"**{_plain(model)}** on **{_plain(faces.name)}**\n\n"
        f"{_data_and_split(faces, splits)}\n"
        f"- length: {total_images:,} images seen"
    )


def describe_evaluation(run: str, run_id: str, faces: FaceSet, splits: Splits) -> str:
    """The evaluated run, data and split of an evaluation.

    Args:
        run: name of the evaluated run.
        run_id: its id.
        faces: the face set.
        splits: train, val and test.
    """
    return (
        f"Evaluation of **{_plain(run)}** on **{_plain(faces.name)}**\n\n"
        f"- run: {run_id}\n"
        f"{_data_and_split(faces, splits)}"
    )


def _data_and_split(faces: FaceSet, splits: Splits) -> str:
    counts = ", ".join(f"{len(indices):,} {part}" for part, indices in splits.items())
    return (
        f"- data: {len(faces):,} images of {len(faces.label_names):,} classes, {_plain(faces.source)}\n"
        f"- split: {counts} images"
    )


def describe_results(reports: Sequence[Report]) -> str:
    """The tables of the protocols' reports."""
    return "\n\n".join(_table(report) for report in reports)


def _table(report: Report) -> str:
    head, *rows = [report.table.columns, *report.table.rows]
    lines = [head, ["---"] * len(head), *rows]
    text = "\n".join("| " + " | ".join(map(_plain, line)) + " |" for line in lines)
    return f"**{_plain(report.table.title)}**\n\n{text}"


def _plain(text: str) -> str:
    """Escape text for Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in text.replace("\n", " "))
