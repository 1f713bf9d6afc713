"""Plots as images (H, W, 3) uint8."""

import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray

Plot = NDArray[np.uint8]
MISSING_GLYPH = "Glyph .* missing"  # matplotlib's warning

_LINE_INCHES = 0.15  # of a caption
_MANY_CLASSES = 25  # above this, axis labels of normal size would overlap
MOST_CLASSES = 60  # distinguishable in one plot
_MOST_POINTS = 1000  # t-SNE takes minutes for 20,000


def literal(figure: Figure) -> None:
    """Have all texts drawn as they are: a `$` in the name of a person or class begins no formula.

    The numbers of a logarithmic axis are formulas of matplotlib's own, and stay so.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatter):
                for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                    tick.label1.set_parse_math(True)


def drawn(figure: Figure) -> Plot:
    """The pixels of a figure; characters that matplotlib's font lacks are drawn as boxes."""
    literal(figure)
    canvas: Any = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def face_grid(
    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    captions: Sequence[str] | None = None,
    columns: int = 8,
    title: str = "",
    inches: float = 1.1,
) -> Plot:
    """A grid of faces with captions.

    Args:
        images: N images (H, W, C) uint8, C 1 or 3, N at least 1.
        captions: N texts below the faces; None for none.
        columns: faces per row.
        title: title above the grid.
        inches: width of a face, at 100 pixels an inch.
    """
    rows = -(-len(images) // columns)
    height, width = images[0].shape[:2]
    lines = max((caption.count("\n") + 1 for caption in captions), default=0) if captions else 0
    step_x, step_y = width * 1.08, height * 1.08 + lines * width * _LINE_INCHES / inches
    # All faces share one pair of axes, since creating axes for each would take half a second.
    side = (columns * inches, rows * step_y / step_x * inches + (0.4 if title else 0))
    figure = Figure(figsize=side, dpi=100, layout="constrained")
    axis = figure.subplots()
    axis.axis("off")
    for position, image in enumerate(images):
        left, top = position % columns * step_x, position // columns * step_y
        shown = np.broadcast_to(image, (height, width, 3))
        axis.imshow(shown, extent=(left, left + width, top + height, top), interpolation="nearest")
        if captions:
            axis.text(left + width / 2, top + height * 1.03, captions[position], fontsize=7, ha="center", va="top")
    axis.set(xlim=(0, columns * step_x), ylim=(rows * step_y, 0), aspect="equal")
    if title:
        figure.suptitle(title, fontsize=10)
    return drawn(figure)


def tile(images: NDArray[np.uint8], least_side: int = 96) -> Plot:
    """A grid of images without captions, enlarged by an integer factor so that pixels stay sharp.

    Args:
        images: (rows, columns, H, W, C) uint8, C 1 or 3.
        least_side: enlarge images whose larger side has fewer pixels.
    """
    rows, columns, height, width, _ = images.shape
    factor = max(1, -(-least_side // max(height, width)))
    margin = 2
    canvas = np.full((rows * (height * factor + margin), columns * (width * factor + margin), 3), 255, dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            image = images[row, column].repeat(factor, axis=0).repeat(factor, axis=1)
            top, left = row * (height * factor + margin), column * (width * factor + margin)
            canvas[top : top + height * factor, left : left + width * factor] = image
    return canvas


def bars(values: NDArray[np.float64], names: Sequence[str], title: str, label: str) -> Plot:
    """A bar chart of the 60 highest values, in descending order.

    Args:
        values: (N,).
        names: N labels of the bars.
        title: title above the chart.
        label: label of the values, with their unit.
    """
    order = np.argsort(-values, kind="stable")[:60]
    figure = Figure(figsize=(max(5.0, 0.2 * len(order) + 1.5), 4), dpi=100, layout="constrained")
    axis = figure.subplots()
    axis.bar(range(len(order)), values[order], color="0.45")
    axis.set_xticks(range(len(order)), [names[i] for i in order], rotation=90, fontsize=7)
    axis.set(title=title, ylabel=label)
    axis.margins(x=0.01)
    return drawn(figure)


def notice(text: str) -> Plot:
    """A text in place of a plot."""
    figure = Figure(figsize=(4, 1), dpi=100)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return drawn(figure)


def confusion_matrix(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], label_names: Sequence[str], title: str
) -> Plot:
    """A confusion matrix: rows are true labels, columns predicted ones; colours are shares of a row, errors in red.

    Args:
        labels: (N,) true labels.
        predicted: (N,) predicted labels.
        label_names: names of all classes, up to `MOST_CLASSES`.
        title: title above the matrix.
    """
    classes = len(label_names)
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (labels, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right, wrong = np.diag(np.diag(shares)), shares - np.diag(np.diag(shares))
    colours = np.ones((classes, classes, 3))
    colours -= right[..., None] * (1 - np.array([0.13, 0.40, 0.67]))
    colours -= wrong[..., None] * (1 - np.array([0.84, 0.15, 0.16]))
    side = min(10.0, max(4.0, 0.28 * classes + 2))
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    axis = figure.subplots()
    axis.imshow(colours.clip(0, 1), interpolation="nearest")
    axis.set(xlabel="predicted", ylabel="true", title=title)
    size = 9 if classes <= _MANY_CLASSES else 6
    axis.set_xticks(range(classes), label_names, rotation=90 if classes > 4 else 0, fontsize=size)
    axis.set_yticks(range(classes), label_names, fontsize=size)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "w" if shares[row, column] > 0.5 else "k"
        axis.text(column, row, counts[row, column], ha="center", va="center", fontsize=size, color=colour)
    return drawn(figure)


def embedding_scatter(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], label_names: Sequence[str], title: str
) -> Plot:
    """A scatter plot of embeddings: t-SNE (van der Maaten and Hinton, 2008) on cosine distances, initialised by PCA.

    Of more than 1,000 embeddings, it shows 1,000, evenly spaced.

    Args:
        embeddings: (N, D), N at least 5.
        labels: (N,) labels, which set the colours; each class is named at its median.
        label_names: names of all classes.
        title: title above the plot.
    """
    from sklearn.decomposition import PCA  # imported here: it takes half a second
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import normalize

    if len(labels) > _MOST_POINTS:
        chosen = np.linspace(0, len(labels) - 1, _MOST_POINTS).astype(int)
        title = f"{title}; {_MOST_POINTS:,} of {len(labels):,}"
        embeddings, labels = embeddings[chosen], labels[chosen]
    directions = normalize(embeddings)
    points = PCA(n_components=2, random_state=0).fit_transform(directions)
    if len(points) >= 20:
        perplexity = min(15.0, (len(points) - 1) / 3)
        start = points / max(float(points.std(axis=0)[0]), 1e-12) * 1e-4
        points = TSNE(perplexity=perplexity, init=start, random_state=0).fit_transform(directions)
    figure = Figure(figsize=(8, 7), dpi=100, layout="constrained")
    axis = figure.subplots()
    present, of_present = np.unique(labels, return_inverse=True)
    axis.scatter(points[:, 0], points[:, 1], s=28, color=mpl.colormaps["tab20"](of_present % 20))
    for label in present if len(present) <= MOST_CLASSES else ():
        axis.annotate(
            label_names[label], np.median(points[labels == label], axis=0), fontsize=7, ha="center", va="center"
        )
    axis.set(title=title, xticks=[], yticks=[])
    return drawn(figure)
