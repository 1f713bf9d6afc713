"""What a survey of a face set found, in order of importance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facelab.data.source import FaceSource
from facelab.data.splits.base import Split
from facelab.data.survey import Pair, SplitOutcome, Survey
from facelab.system import counted, visible

Level = Literal["error", "warning", "note"]
_BLANK_SHARPNESS = 1.0  # variance of the Laplacian: rounding alone gives a gradient about as much
_GREY = ("1", "L", "LA")
_TRANSPARENT = ("LA", "RGBA")


@dataclass(frozen=True)
class Finding:
    """Something to know before training.

    Args:
        level: `error` if training would stop, `warning` if its results may suffer, else `note`.
        text: one sentence or two, in printable characters.
        lines: the files it is about, one per line, in printable characters.
    """

    level: Level
    text: str
    lines: Sequence[str] = ()


def findings(found: Survey, source: FaceSource, rule: Split, outcome: SplitOutcome | None) -> list[Finding]:
    """All findings, errors first.

    Args:
        found: the survey of the source.
        source: of the images.
        rule: the chosen split rule.
        outcome: what it gave; None if the images make no face set.
    """
    return [
        *_of_errors(found, outcome, drops=rule.duplicates == "drop"),
        *_of_pairs(found, drops=rule.duplicates == "drop"),
        *_of_images(found, source),
        *(Finding("note", visible(note)) for note in found.rows.notes),
    ]


def named_pair(found: Survey, pair: Pair) -> str:
    """A pair as `name (label) = name (label)`, or with the number of bits that differ."""
    names = [visible(_with_label(found, index)) for index in (pair.first, pair.second)]
    return " = ".join(names) if pair.bits is None else f"{' ~ '.join(names)}: {pair.bits} bits differ"


def _with_label(found: Survey, index: int) -> str:
    """The name of an image with its label, unless it is in a folder of that name."""
    name, label = found.rows.names[index], found.label(index)
    return name if f"{label}/" in name else f"{name} ({label or 'no label'})"


def _of_errors(found: Survey, outcome: SplitOutcome | None, drops: bool) -> list[Finding]:
    errors = []
    if found.problems:
        text = f"Unusable files or folders: {len(found.problems):,}. Training stops at them."
        errors.append(Finding("error", text, [visible(text) for text in found.problems]))
    if found.refusal:
        errors.append(Finding("error", visible(found.refusal)))
    conflicts = _chosen(found, identical=True, two_labels=True)
    if conflicts and not drops:
        errors.append(_of_conflicts(found, conflicts, "error", "Delete the wrong ones, or type split.duplicates=drop."))
    elif outcome is not None and outcome.error:
        errors.append(Finding("error", f"With {visible(outcome.name)}, {outcome.error}"))
    return errors


def _of_conflicts(found: Survey, pairs: Sequence[Pair], level: Level, remedy: str) -> Finding:
    text = f"Identical to an image with another label: {counted(len(pairs), 'image')}. {remedy}"
    return Finding(level, text, [named_pair(found, pair) for pair in pairs])


def _of_pairs(found: Survey, drops: bool) -> list[Finding]:
    shown = []
    conflicts = _chosen(found, identical=True, two_labels=True)
    if conflicts and drops:
        shown.append(_of_conflicts(found, conflicts, "warning", "split.duplicates=drop leaves out both."))
    texts = {
        (False, True): ("Nearly equal, with different labels", "The same photo under two labels?"),
        (True, False): (
            "Identical, with one label",
            "A split must not part them; split.duplicates=drop keeps one of each.",
        ),
        (False, False): ("Nearly equal, with one label", "The same photo, saved or cropped twice?"),
    }
    for (identical, two_labels), (kind, meaning) in texts.items():
        pairs = _chosen(found, identical, two_labels)
        if pairs:
            lines = [named_pair(found, pair) for pair in pairs]
            shown.append(Finding("warning", f"{kind}: {counted(len(pairs), 'pair')}. {meaning}", lines))
    return shown


def _of_images(found: Survey, source: FaceSource) -> list[Finding]:
    usable = found.measured[found.usable]
    mode = usable["mode"]
    small = np.minimum(usable["width"], usable["height"]) < source.image_size
    is_grey = np.isin(mode, _GREY)
    checks: list[tuple[Level, NDArray[np.bool_], str]] = [
        ("warning", usable["sharpness"] < _BLANK_SHARPNESS, "Almost uniform, so blank or of one colour"),
        ("warning", small, f"Smaller than data.image_size={source.image_size}, to which they are enlarged"),
        ("warning", np.isin(mode, _TRANSPARENT), "With transparency, which is ignored"),
        ("note", usable["turned"], "Turned upright by EXIF"),
    ]
    if source.channels == 3 and 0 < is_grey.sum() < len(usable):
        checks.append(("note", is_grey, "Grey, among images in colour"))
    return [
        Finding(level, f"{text}: {counted(int(chosen.sum()), 'image')}.", _names(found, found.usable[chosen]))
        for level, chosen, text in checks
        if chosen.any()
    ]


def _names(found: Survey, indices: NDArray[np.int64]) -> list[str]:
    return [visible(found.rows.names[index]) for index in indices]


def _chosen(found: Survey, identical: bool, two_labels: bool) -> list[Pair]:
    return [
        pair for pair in found.pairs if (pair.bits is None) == identical and found.of_two_labels(pair) == two_labels
    ]


def class_summary(found: Survey) -> str:
    """Number of classes and of their images, such as `40 classes of 10 images`."""
    sizes = found.class_sizes
    sizes = sizes[sizes > 0]
    if not len(sizes):
        return "no classes"
    classes = counted(len(sizes), "class")
    if sizes.min() == sizes.max():
        return f"{classes} of {counted(int(sizes[0]), 'image')}"
    single = int((sizes == 1).sum())
    text = f"{classes} of {sizes.min():,} to {sizes.max():,} images, median {np.median(sizes):,.0f}"
    return f"{text}; {single:,} of a single image" if single else text
