"""Decode one image file, or report why it is unusable.

Image files are untrusted: Pillow only opens the formats of `FORMATS`, detected from the content and not from the name.
Every failure becomes one sentence with its cause.
"""

import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from facelab.errors import DataError

# Other Pillow readers call external programs (EPS) or raise arbitrary exceptions on damaged files.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".pgm", ".ppm", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")
# Unsupported image formats are errors: skipping them would silently change the data set.
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".dds", ".tga", ".psd", ".svg", ".eps", ".ps", ".pdf"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw"),
)
_SHOWN_PROBLEMS = 20
MAX_PIXELS = 64_000_000  # a header of a few hundred bytes can claim billions
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}  # 8 bits per channel, grey or RGB
_OTHER_CONTENTS = (  # offset, magic bytes, kind of file
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"%PDF", "PDF"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypm", "HEIC or a video"),
    (4, b"ftyp", "a video"),
    (0, b"DDS ", "DDS"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (0, b"<svg", "SVG"),
    (0, b"<html", "a web page"),
    (0, b"<!doctype", "a web page"),
    (0, b"version https://git-lfs", "a Git LFS pointer (git lfs pull fetches the image)"),
)

# Pillow's warnings name no file; this module checks their causes, except harmless ones such as an odd EXIF block.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class _UnusableError(Exception):
    """The image is unusable. The message is a sentence without its subject, the image."""


def as_pixels(image: Image.Image, image_size: int, channels: int) -> NDArray[np.uint8]:
    """Convert an image to grey or RGB and resize it to (image_size, image_size, channels) uint8."""
    return resize(image.convert("L" if channels == 1 else "RGB"), image_size)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read one image in its own size, rotated upright by its EXIF tag.

    Args:
        path: an image file.

    Returns:
        (H, W, 3) uint8 in RGB; of a GIF or TIFF with several images, the first.

    Raises:
        DataError: the file is unusable; says why and what to do.
    """
    with opened_file(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def resize(image: Image.Image, image_size: int) -> NDArray[np.uint8]:
    """Resize a grey or RGB image to (image_size, image_size, C) uint8, bilinear with antialiasing."""
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(image_size, image_size, -1)


def picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """The grey or RGB image of pixels (H, W, C) uint8."""
    return Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)


@contextmanager
def opened_file(path: Path) -> Iterator[Image.Image]:
    """Open and decode an image file, upright.

    Raises:
        DataError: the file is unusable; says why and what to do.
    """
    try:
        _check_file(path.stat())
        file = path.open("rb")
    except _UnusableError as problem:
        raise DataError(f"{path} {problem}.") from problem
    except PermissionError as error:
        raise DataError(f"{path} is not readable; change its permissions.") from error
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist, or is a broken symbolic link; restore it or delete the link."
        ) from error
    except OSError as error:
        raise DataError(f"{path} is not readable ({error.strerror}); delete it or copy it again.") from error
    with file, opened(file, str(path)) as image:
        yield image


@contextmanager
def opened(file: BinaryIO, named: str) -> Iterator[Image.Image]:
    """Decode an image, upright. `image.info["turned"]` tells whether its EXIF orientation was applied.

    Args:
        file: the encoded image.
        named: its name, the subject of error messages.

    Raises:
        DataError: the image is unusable; says why and what to do.
    """
    try:
        image = _decoded(file)
    except _UnusableError as problem:
        raise DataError(f"{named} {problem}.") from problem.__cause__
    with image:
        yield image


def _decoded(file: BinaryIO) -> Image.Image:
    """Check the header and decode; every exception of Pillow becomes an `_UnusableError`."""
    try:
        image = Image.open(file, formats=FORMATS)
        _check_header(image, file)
        _load(image)
        return image
    except _UnusableError:
        raise
    except Image.DecompressionBombError as error:
        raise _UnusableError(f"claims more than {MAX_PIXELS:,} pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise _UnusableError(_content_of(file)) from error
    except MemoryError as error:
        raise _UnusableError("needs more memory than is available; make it smaller") from error
    except Exception as error:  # decoders raise anything on damaged files: struct.error, KeyError, EOFError, ...
        raise _UnusableError(f"is damaged or truncated ({_first_line(error)}); delete it or copy it again") from error


def check_files(paths: Sequence[Path]) -> list[os.stat_result]:
    """Check that all paths are regular files, before any is opened.

    Returns:
        The stat result of each.

    Raises:
        DataError: some are folders, FIFOs, devices or the like; names each one.
    """
    problems, stats = [], []
    for path in paths:
        try:
            found = path.stat()
        except OSError as error:
            problems.append(f"{path} is not readable ({error.strerror}); delete it or copy it again.")
            continue
        if not stat.S_ISREG(found.st_mode):
            problems.append(f"{path} is {kind_of_file(found.st_mode)}, not an image file; delete or rename it.")
        stats.append(found)
    refuse(problems)
    return stats


def refuse(problems: Sequence[str]) -> None:
    """Raise an error if there are problems with images.

    Raises:
        DataError: lists the problems, at most the first twenty.
    """
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        lines = [f"{len(problems):,} images are unusable:", *(f"  - {text}" for text in problems[:_SHOWN_PROBLEMS])]
        if len(problems) > _SHOWN_PROBLEMS:
            lines.append(f"  ... and {len(problems) - _SHOWN_PROBLEMS:,} more")
        raise DataError("\n".join(lines))


def _check_file(found: os.stat_result) -> None:
    """Refuse non-regular and empty files before opening them: opening a FIFO would block."""
    if not stat.S_ISREG(found.st_mode):
        raise _UnusableError(f"is {kind_of_file(found.st_mode)}, not an image file; delete it")
    if found.st_size == 0:
        raise _UnusableError("is empty (0 bytes); delete it or copy it again")


def kind_of_file(mode: int) -> str:
    """Name the kind of a non-regular file from its `st_mode`."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _check_header(image: Image.Image, file: BinaryIO) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _UnusableError(f"has {width} x {height} pixels, more than {MAX_PIXELS:,}; make it smaller")
    if image.mode == "CMYK":
        raise _UnusableError("is CMYK; convert it to RGB")
    if image.mode not in _MODES:
        raise _UnusableError(f"has mode '{image.mode}', not 8 bits per channel; convert it to 8-bit grey or RGB")
    # Pillow cuts 16 bits to 8 without a word; only the raw mode of a tile tells.
    has_16_bits = any(";16" in str(tile[3]) for tile in image.tile)  # type: ignore[attr-defined]
    if has_16_bits or (image.format == "PPM" and _netpbm_maximum(file) > 255):
        raise _UnusableError("has 16 bits per channel; convert it to 8-bit grey or RGB")


def _netpbm_maximum(file: BinaryIO) -> int:
    """Read the maximum value from a PGM or PPM header."""
    place = file.tell()
    file.seek(0)
    text = b"\n".join(line.split(b"#")[0] for line in file.read(512).split(b"\n")[:16])
    file.seek(place)
    fields = text.split()
    return int(fields[3]) if len(fields) > 3 and fields[3].isdigit() else 255


def _load(image: Image.Image) -> None:
    """Decode the pixels and rotate them upright."""
    image.load()
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:
        return  # an unreadable EXIF block is ignored, as in image viewers
    image.info["turned"] = turned


def _content_of(file: BinaryIO) -> str:
    file.seek(0)
    head = file.read(64)
    for offset, magic, kind in _OTHER_CONTENTS:
        if head[offset:].lower().startswith(magic.lower()):
            return f"holds {kind}, despite its name; convert it to PNG or JPEG, or delete it"
    return f"is not an image of a supported format ({', '.join(FORMATS)}), or is corrupt; delete it or copy it again"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
