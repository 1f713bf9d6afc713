"""Self-contained HTML pages: templates, embedded images and charts."""

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure


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
    """A figure as SVG; equal figures give equal text."""
    written = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "facelab"}):
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(written, metadata={"Date": None})
    return written.getvalue()


def svg_uri(text: str) -> str:
    """A data URI of an SVG, which isolates its ids from those of other SVGs on the page."""
    return data_uri("image/svg+xml", text.encode())


def data_uri(kind: str, data: bytes) -> str:
    """A data URI of an image; `kind` is its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
