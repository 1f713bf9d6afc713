"""Self-contained HTML pages: templates, embedded images and charts."""

import base64
import io
import re
import warnings
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from facelab.protocols.plots import MISSING_GLYPH, literal


def render(template: Path, **values: Any) -> str:
    """Render a template that extends `base.html`; every value is escaped.

    Args:
        template: the file.
        values: what it shows; `title` is the page's title.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(values)


def svg(figure: Figure) -> str:
    """A figure as SVG; equal figures give equal text.

    Texts are paths, unless matplotlib's font lacks a character, such as a Chinese one: a browser has more fonts.
    """
    literal(figure)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        text = _written(figure, "path")
        if any(re.match(MISSING_GLYPH, str(warning.message)) for warning in raised):
            text = _written(figure, "none")
    return text


def _written(figure: Figure, texts: Literal["path", "none"]) -> str:
    written = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "facelab", "svg.fonttype": texts}):
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(written, metadata={"Date": None})
    return written.getvalue()


def svg_uri(text: str) -> str:
    """A data URI of an SVG, which isolates its ids from those of other SVGs on the page."""
    return data_uri("image/svg+xml", text.encode())


def data_uri(kind: str, data: bytes) -> str:
    """A data URI of an image; `kind` is its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
