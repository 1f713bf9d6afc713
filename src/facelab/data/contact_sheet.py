"""A contact sheet: thumbnails in rows, with captions under them."""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

Cell = tuple[NDArray[np.uint8], str]  # (H, W, C) uint8, C 1 or 3, and its caption

MOST_ROWS = 50
_MARGIN, _FONT_SIZE, _LINE = 10, 13, 17  # pixels
_MOST_LINES = 3
_ELLIPSIS = "…"


def contact_sheet(rows: Sequence[Sequence[Cell]], side: int = 192) -> NDArray[np.uint8]:
    """Draw images in rows, each with its caption below: pairs to compare, or the images of a class.

    Images keep their aspect ratio. A line of a caption that is too long is wrapped; beyond three lines it loses its
    middle, since file names differ at their ends. Characters that the font lacks, such as Chinese ones, are escaped.

    Args:
        rows: images with captions; after the first 50 rows, a line tells how many there are more.
        side: of a thumbnail, in pixels.

    Returns:
        (H, W, 3) uint8.
    """
    shown = rows[:MOST_ROWS]
    captions = [[_lines(caption, side) for _, caption in row] for row in shown]
    heights = [side + _LINE * max(map(len, row), default=0) + 2 * _MARGIN for row in captions]
    tops = [0, *accumulate(heights)]
    note = f"and {len(rows) - MOST_ROWS:,} more" if len(rows) > MOST_ROWS else ""
    width = _MARGIN + max(map(len, shown), default=0) * (side + _MARGIN)
    canvas = Image.new("RGB", (width, tops[-1] + _MARGIN + (_LINE if note else 0)), "white")
    draw = ImageDraw.Draw(canvas)
    for row, lines_of_row, top in zip(shown, captions, tops, strict=False):
        for column, ((image, _), lines) in enumerate(zip(row, lines_of_row, strict=True)):
            left = _MARGIN + column * (side + _MARGIN)
            canvas.paste(_thumbnail(image, side), (left, top + _MARGIN))
            for number, line in enumerate(lines):
                draw.text((left, top + _MARGIN + side + 2 + number * _LINE), line, "black", _font())
    draw.text((_MARGIN, tops[-1]), note, "black", _font())
    return np.asarray(canvas)


def _thumbnail(image: NDArray[np.uint8], side: int) -> Image.Image:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
    return ImageOps.pad(picture, (side, side), Image.Resampling.BICUBIC, color="whitesmoke")


def _lines(caption: str, width: int) -> list[str]:
    """Wrap a caption; each of its own lines takes at most three."""
    return [line for own in caption.split("\n") for line in _wrapped(_drawable(own), width)]


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text into at most three lines of `width` pixels, at any character, since paths have no spaces."""
    whole, half = text, int(len(text) / max(1, _font().getlength(text)) * _MOST_LINES * width / 2) + 1
    while True:
        lines = [""]
        for character in text:
            if lines[-1] and _font().getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
        if len(lines) <= _MOST_LINES:
            return lines
        half = min(half, len(whole) // 2) - 1
        text = whole[:half] + _ELLIPSIS + whole[-half:]


def _drawable(text: str) -> str:
    """The text with characters escaped that the font lacks or that are not printable."""
    return "".join(
        character
        if character.isprintable() and ord(character) in _characters()
        else character.encode("unicode_escape").decode()
        for character in text
    )


def _font_path() -> Path:
    return Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # comes with matplotlib on every machine


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_font_path(), _FONT_SIZE)


@cache
def _characters() -> frozenset[int]:
    return frozenset(FT2Font(_font_path()).get_charmap())
