"""What was found in a face set, as one self-contained HTML file."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelab.checking import figures
from facelab.checking.findings import Finding, class_summary, named_pair
from facelab.compare.html import data_uri, render, svg_uri
from facelab.data.columns import Column
from facelab.data.source import FaceSource
from facelab.data.survey import SplitOutcome, Survey, thumbnails
from facelab.system import counted, visible

_SIDE = 72  # of a thumbnail, in pixels
_QUALITY = 80
_MOST_CLASSES, _OF_CLASS = 60, 6
_MOST_PAIRS = 40
_EXTREMES = 8
_MOST_LINES = 2000
_MOST_VALUES = 8

Thumbnails = Mapping[int, NDArray[np.uint8]]


def page(
    found: Survey,
    source: FaceSource,
    shown: Sequence[Finding],
    outcomes: Sequence[SplitOutcome],
    command: str,
) -> str:
    """Render the page.

    Args:
        found: the survey of the source.
        source: of the images.
        shown: its findings.
        outcomes: of the split rules; empty if the images make no face set.
        command: that was typed.
    """
    classes = _shown_classes(found)
    pairs = sorted(found.pairs, key=lambda pair: (not found.of_two_labels(pair), pair.bits is not None))[:_MOST_PAIRS]
    extremes = _extremes(found)
    wanted = [index for _, members in classes for index in members]
    wanted += [index for pair in pairs for index in (pair.first, pair.second)]
    wanted += [index for _, members in extremes for index in members]
    small = thumbnails(found.rows, wanted, _SIDE)
    usable = found.measured[found.usable]
    return render(
        Path(__file__).parent / "page.html",
        title=f"Check of {visible(found.rows.name)}",
        command=visible(command),
        source=visible(found.rows.source or str(found.rows.root.absolute())),
        summary=f"{counted(len(usable), 'usable image')}; {class_summary(found)}, by the column {source.label}.",
        findings=[(one, one.lines[:_MOST_LINES], len(one.lines) - _MOST_LINES) for one in shown],
        outcomes=outcomes,
        class_count=int((found.class_sizes > 0).sum()),
        class_plot=_class_plot(found),
        classes=[
            (f"{name}: {counted(size, 'image')}", _strip(small, members))
            for (name, size), members in _named(found, classes)
        ],
        sizes=_sizes(usable),
        plots=_plots(usable, source),
        extremes=[
            (name, [(_caption(found, name, i), _strip(small, [i])) for i in members]) for name, members in extremes
        ],
        pairs=[(named_pair(found, pair), _strip(small, [pair.first, pair.second])) for pair in pairs],
        pair_count=len(found.pairs),
        columns=[_column(name, texts, found) for name, texts in found.rows.columns.items()],
    )


def _class_plot(found: Survey) -> str:
    sizes = found.class_sizes[found.class_sizes > 0]
    return svg_uri(figures.class_sizes(sizes)) if len(np.unique(sizes)) > 1 else ""


def _shown_classes(found: Survey) -> list[tuple[int, list[int]]]:
    """Classes to show by label, and their first images: all, or else evenly spaced from the largest to the smallest."""
    if found.labels is None:
        return []
    sizes = found.class_sizes
    having = np.flatnonzero(sizes)
    if len(having) > _MOST_CLASSES:
        ordered = having[np.argsort(-sizes[having], kind="stable")]
        having = ordered[np.linspace(0, len(ordered) - 1, _MOST_CLASSES).astype(int)]
    codes = found.labels.codes[found.usable]
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], having)
    return [
        (int(code), found.usable[order[start : start + min(_OF_CLASS, sizes[code])]].tolist())
        for code, start in zip(having, starts, strict=True)
    ]


def _named(found: Survey, classes: list[tuple[int, list[int]]]) -> list[tuple[tuple[str, int], list[int]]]:
    names = [] if found.labels is None else found.labels.names
    return [((visible(names[code]), int(found.class_sizes[code])), members) for code, members in classes]


def _extremes(found: Survey) -> list[tuple[str, list[int]]]:
    """The images at both ends of brightness and sharpness."""
    usable = found.usable
    ends = []
    for field, low, high in (
        ("brightness", "Darkest", "Brightest"),
        ("sharpness", "Least sharp", "Sharpest or noisiest"),
    ):
        order = usable[np.argsort(found.measured[field][usable], kind="stable")]
        ends += [(low, order[:_EXTREMES].tolist()), (high, order[::-1][:_EXTREMES].tolist())]
    return ends if len(usable) else []


def _caption(found: Survey, name: str, index: int) -> str:
    field = "brightness" if name in ("Darkest", "Brightest") else "sharpness"
    return f"{visible(found.rows.names[index])}: {found.measured[field][index]:,.0f}"


def _strip(small: Thumbnails, indices: Sequence[int]) -> str:
    """Thumbnails beside each other, as the data URI of a JPEG."""
    written = io.BytesIO()
    Image.fromarray(np.concatenate([small[index] for index in indices], axis=1)).save(written, "JPEG", quality=_QUALITY)
    return data_uri("image/jpeg", written.getvalue())


def _sizes(usable: NDArray[np.void]) -> str:
    if not len(usable):
        return ""
    width, height = usable["width"], usable["height"]
    modes, counts = np.unique(usable["mode"], return_counts=True)
    kinds = ", ".join(f"{mode} ({count:,})" for mode, count in zip(modes, counts, strict=True))
    if width.min() == width.max() and height.min() == height.max():
        return f"All images have {width[0]} x {height[0]} pixels. Modes: {kinds}."
    return (
        f"{width.min():,} to {width.max():,} pixels wide (median {np.median(width):,.0f}), {height.min():,} to "
        f"{height.max():,} high (median {np.median(height):,.0f}). Modes: {kinds}."
    )


def _plots(usable: NDArray[np.void], source: FaceSource) -> list[tuple[str, str]]:
    """Captions and charts of sizes, brightness and sharpness."""
    if not len(usable):
        return []
    plots = [
        (
            "Brightness: the mean luma, from 0 (black) to 255 (white).",
            figures.histogram(usable["brightness"], "brightness"),
        ),
        (
            "Sharpness: the variance of the Laplacian, at no more than 256 pixels a side.",
            figures.histogram(usable["sharpness"], "sharpness", logarithmic=True),
        ),
    ]
    if len(np.unique(usable[["width", "height"]])) > 1:
        drawn = figures.image_sizes(usable["width"], usable["height"], source.image_size)
        plots.insert(0, (f"Sizes; the dashed lines mark data.image_size={source.image_size}.", drawn))
    return [(caption, svg_uri(drawn)) for caption, drawn in plots]


def _column(name: str, texts: Sequence[str], found: Survey) -> dict[str, Any]:
    """Values of a column over the usable images, the most frequent first."""
    column = Column.of([texts[index] for index in found.usable])
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
    order = np.argsort(-counts, kind="stable")
    values = [f"{visible(column.names[code])} ({counts[code]:,})" for code in order[:_MOST_VALUES]]
    return {
        "name": visible(name),
        "distinct": len(column.names),
        "missing": int((column.codes < 0).sum()),
        "frequent": ", ".join(values) + (", ..." if len(order) > _MOST_VALUES else ""),
    }
