"""Decode image files, and say plainly what is wrong with those that cannot be used."""

import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from facelab.errors import DataError

SUFFIXES = (".pgm", ".ppm", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")
# Opened by content, whatever the suffix says: Pillow would hand a PostScript file to Ghostscript.
_FORMATS = ("PPM", "PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF")
MAX_PIXELS = 64_000_000  # a face picture has no need of more; a few hundred bytes can claim billions
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}  # eight bits a channel, grey or RGB


def problem_with(path: Path) -> str | None:
    """What keeps an image file from being used, judged by its header, with the way out; None if nothing does."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file but a pipe, a device or a folder; delete it"
        if status.st_size == 0:
            return "is empty (0 bytes); delete it or copy it again"
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                return f"has {width} x {height} pixels, more than {MAX_PIXELS:,}; make it smaller"
            if image.mode not in _MODES:
                if image.mode == "CMYK":
                    return "is CMYK, meant for print; convert it to RGB"
                return f"has mode '{image.mode}', not 8 bits a channel; convert it to 8-bit grey or RGB"
            if image.format == "PPM" and _netpbm_maximum(path) > 255:
                return "has 16 bits a channel; convert it to 8-bit grey or RGB"
    except Image.DecompressionBombError:
        return f"claims more than {MAX_PIXELS:,} pixels; make it smaller"
    except UnidentifiedImageError:
        return f"is corrupt, or of another format than {', '.join(_FORMATS)}; delete it, copy it again or convert it"
    except PermissionError:
        return "may not be read; change its permissions"
    except Exception as error:  # Pillow's decoders raise whatever they like on damaged files
        return f"cannot be opened ({error}); delete it or copy it again"
    return None


def _netpbm_maximum(path: Path) -> int:
    """The largest value a PGM or PPM file announces; Pillow shrinks 16 bits to 8 without a word."""
    with path.open("rb") as file:
        text = b"\n".join(line.split(b"#")[0] for line in file.read(512).split(b"\n")[:16])
    fields = text.split()
    return int(fields[3]) if len(fields) > 3 and fields[3].isdigit() else 255


def decode(path: Path, image_size: int, channels: int) -> NDArray[np.uint8]:
    """Read one image, turn it upright as its EXIF tag says, and resize it.

    Args:
        path: an image file that `problem_with` finds nothing wrong with.
        image_size: side of the square result, in pixels; bilinear, with antialiasing; the aspect is not kept.
        channels: 1 for grey (ITU-R 601 luma), 3 for RGB.

    Returns:
        (image_size, image_size, channels) uint8.

    Raises:
        DataError: the file is damaged behind its header.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            converted = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
    except Exception as error:  # as above
        raise DataError(f"{path} is damaged ({error}); delete it or copy it again.") from error
    return resize(converted, image_size)


def resize(image: Image.Image, image_size: int) -> NDArray[np.uint8]:
    """(image_size, image_size, C) uint8 of a grey or RGB image, bilinear with antialiasing."""
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(image_size, image_size, -1)


def decode_all(paths: Sequence[Path], image_size: int, channels: int) -> NDArray[np.uint8]:
    """Decode many images, in parallel.

    Returns:
        (N, image_size, image_size, channels) uint8, in the order of `paths`.

    Raises:
        DataError: naming every file that cannot be used and why.
    """
    pixels = np.empty((len(paths), image_size, image_size, channels), dtype=np.uint8)

    def one(index: int) -> str | None:
        try:
            pixels[index] = decode(paths[index], image_size, channels)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for problem in pool.map(one, range(len(paths))) if problem]
    if problems:
        raise DataError(_listed(problems))
    return pixels


def check_files(paths: Sequence[Path]) -> None:
    """Look at the header of every file.

    Raises:
        DataError: naming every file that cannot be used, why, and what to do.
    """

    def look() -> Iterator[str]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, problem in zip(paths, pool.map(problem_with, paths), strict=True):
                if problem:
                    yield f"{path} {problem}."

    problems = list(look())
    if problems:
        raise DataError(_listed(problems))


def _listed(problems: Sequence[str], shown: int = 20) -> str:
    if len(problems) == 1:
        return problems[0]
    lines = [f"{len(problems)} images cannot be used:", *(f"  - {problem}" for problem in problems[:shown])]
    if len(problems) > shown:
        lines.append(f"  ... and {len(problems) - shown} more")
    return "\n".join(lines)
