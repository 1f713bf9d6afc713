"""Decode one image file, or say plainly what is wrong with it.

Pictures are not trusted: only the formats of `FORMATS` are opened, chosen by what a file holds and not by its name, and
every fault ends in a sentence that names it.
"""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from facelab.errors import DataError

# Pillow's own readers of these; others call programs (EPS), or raise whatever they like on damaged files.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".pgm", ".ppm", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")
# Pictures of other formats: refused by name, since a set without them would quietly be another set.
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".dds", ".tga", ".psd", ".svg", ".eps", ".ps", ".pdf"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw"),
)
MAX_PIXELS = 64_000_000  # a face picture has no need of more; a few hundred bytes can claim billions
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}  # eight bits a channel, grey or RGB
_OTHER_CONTENTS = (  # where, what stands there, and what that is
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"%PDF", "PDF"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypm", "HEIC or a film"),
    (4, b"ftyp", "a film"),
    (0, b"DDS ", "DDS"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (0, b"<svg", "SVG"),
    (0, b"<html", "a web page"),
    (0, b"<!doctype", "a web page"),
    (0, b"version https://git-lfs", "a pointer of Git LFS (git lfs pull fetches the picture)"),
)

# Without a file's name they say nothing; what they warn of is found out here, or harmless (an odd EXIF block).
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class _UnusableError(Exception):
    """What keeps a file from being used: a sentence without its subject."""


def problem_with(path: Path) -> str | None:
    """What keeps an image file from being used, judged by its header, with the way out; None if nothing does."""
    try:
        with _opened(path):
            return None
    except _UnusableError as problem:
        return str(problem)


def decode(path: Path, image_size: int, channels: int) -> NDArray[np.uint8]:
    """Read one image, turn it upright as its EXIF tag says, and resize it.

    Args:
        path: an image file.
        image_size: side of the square result, in pixels; bilinear, with antialiasing; the aspect is not kept.
        channels: 1 for grey (ITU-R 601 luma), 3 for RGB.

    Returns:
        (image_size, image_size, channels) uint8.

    Raises:
        DataError: the file cannot be used; says why and what to do.
    """
    try:
        with _opened(path) as image:
            _load(image)
            converted = image.convert("L" if channels == 1 else "RGB")
    except _UnusableError as problem:
        raise DataError(f"{path} {problem}.") from problem.__cause__
    return resize(converted, image_size)


def resize(image: Image.Image, image_size: int) -> NDArray[np.uint8]:
    """(image_size, image_size, C) uint8 of a grey or RGB image, bilinear with antialiasing."""
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(image_size, image_size, -1)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture with its header read and found usable; whatever Pillow raises becomes an `_UnusableError`."""
    try:
        _check_file(path.stat())
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            _check_header(image, file)
            yield image
    except _UnusableError:
        raise
    except Image.DecompressionBombError as error:
        raise _UnusableError(f"claims more than {MAX_PIXELS:,} pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise _UnusableError(_content_of(path)) from error
    except PermissionError as error:
        raise _UnusableError("may not be read; change its permissions") from error
    except FileNotFoundError as error:
        raise _UnusableError("is no longer there, or is a symbolic link to nothing") from error
    except MemoryError as error:
        raise _UnusableError("asks for more memory than there is; make it smaller") from error
    except Exception as error:  # a damaged file gets anything out of a decoder: struct.error, KeyError, EOFError, ...
        raise _UnusableError(f"is damaged or cut short ({_first_line(error)}); delete it or copy it again") from error


def _check_file(found: os.stat_result) -> None:
    """Before it is opened: who opens a FIFO waits for its writer."""
    if not stat.S_ISREG(found.st_mode):
        raise _UnusableError(f"is {kind_of_file(found.st_mode)} and not an image file; delete it")
    if found.st_size == 0:
        raise _UnusableError("is empty (0 bytes); delete it or copy it again")


def kind_of_file(mode: int) -> str:
    """What something that is no file is, from its `st_mode`."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _check_header(image: Image.Image, file: BinaryIO) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _UnusableError(f"has {width} x {height} pixels, more than {MAX_PIXELS:,}; make it smaller")
    if image.mode == "CMYK":
        raise _UnusableError("is CMYK, meant for print; convert it to RGB")
    if image.mode not in _MODES:
        raise _UnusableError(f"has mode '{image.mode}', not 8 bits a channel; convert it to 8-bit grey or RGB")
    if image.format == "PPM" and _netpbm_maximum(file) > 255:
        raise _UnusableError("has 16 bits a channel; convert it to 8-bit grey or RGB")


def _netpbm_maximum(file: BinaryIO) -> int:
    """The largest value a PGM or PPM file announces; Pillow shrinks 16 bits to 8 without a word."""
    place = file.tell()
    file.seek(0)
    text = b"\n".join(line.split(b"#")[0] for line in file.read(512).split(b"\n")[:16])
    file.seek(place)
    fields = text.split()
    return int(fields[3]) if len(fields) > 3 and fields[3].isdigit() else 255


def _load(image: Image.Image) -> None:
    """Decode the pixels and turn them upright."""
    image.load()
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:
        # An unreadable EXIF block tells nothing; the picture stays as it is stored, as every viewer shows it.
        return


def _content_of(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(64)
    for offset, magic, kind in _OTHER_CONTENTS:
        if head[offset:].lower().startswith(magic.lower()):
            return f"holds {kind}, whatever its name says; convert it to PNG or JPEG, or delete it"
    return f"is no image of a format read here ({', '.join(FORMATS)}), or is corrupt; delete it or copy it again"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
