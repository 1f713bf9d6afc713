"""Files that cannot be used are named, with what is wrong and the way out."""

import contextlib
import random
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from facelab.data.images import FORMATS
from facelab.data.sources.folder import Folder
from facelab.data.sources.orl import ORL
from facelab.errors import DataError
from tests.conftest import Command
from tests.data.made import decode, make_folder, problem_with


def face() -> Image.Image:
    return Image.fromarray(ORL(image_size=64, last_person=2).load().pixels[0][..., 0])


def _zero_byte(path: Path) -> None:
    path.write_bytes(b"")


def _corrupt(path: Path) -> None:
    path.write_bytes(b"this is no picture")


def _truncated(path: Path) -> None:
    face().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _sixteen_bit(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(path)


def _cmyk(path: Path) -> None:
    face().convert("CMYK").save(path, format="JPEG")


def _huge(path: Path) -> None:
    path.write_bytes(_png_header(40_000, 40_000))


def _png_header(width: int, height: int) -> bytes:
    """A PNG of a few dozen bytes that claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


BAD: list[tuple[Callable[[Path], None], str]] = [
    (_zero_byte, "is empty (0 bytes)"),
    (_corrupt, "is corrupt"),
    (_truncated, "truncated"),
    (_sixteen_bit, "convert it to 8-bit"),
    (_cmyk, "CMYK"),
    (_huge, "make it smaller"),
]


@pytest.mark.parametrize(("spoil", "says"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_picture_is_named(facelab: Command, tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    root = make_folder(tmp_path / "faces")
    spoil(root / "person1" / "3.png")
    outcome = facelab("train", "data=folder", f"data.root={root}")
    assert outcome.status == 1
    assert str(Path("person1") / "3.png") in outcome.error
    assert says in outcome.error
    assert "Traceback" not in outcome.error
    assert {path.name for path in tmp_path.iterdir()} == {"faces"}


def test_every_bad_picture_is_named_at_once(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces")
    for number, (spoil, _) in enumerate(BAD):
        spoil(root / "person0" / f"bad{number}.png")
    with pytest.raises(DataError) as caught:
        Folder(str(root)).load()
    assert all(f"bad{number}.png" in str(caught.value) for number in range(len(BAD)))


def test_a_sixteen_bit_ppm_is_not_quietly_shrunk(tmp_path: Path) -> None:
    path = tmp_path / "deep.ppm"
    path.write_bytes(b"P6\n# a comment\n2 2\n65535\n" + bytes(24))
    assert "16 bits" in str(problem_with(path))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_of_colour_are_not_quietly_shrunk(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), np.full((8, 8, channels), 40_000, dtype=np.uint16))
    assert "16 bits" in str(problem_with(path))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_usual_modes_are_taken(tmp_path: Path, mode: str, channels: int) -> None:
    path = tmp_path / "face.png"
    face().convert(mode).save(path)
    assert problem_with(path) is None
    assert decode(path, 32, channels).shape == (32, 32, channels)


def test_decoding_agrees_with_pillow_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    face().save(path)
    by_hand = np.asarray(face().resize((20, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(decode(path, 20, 1)[..., 0], by_hand)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: None, "holds no folders"),
        (lambda root: (root / "only").mkdir(), "holds no images"),
    ],
    ids=["empty", "empty class"],
)
def test_a_folder_without_pictures(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    root = tmp_path / "faces"
    root.mkdir()
    spoil(root)
    with pytest.raises(DataError, match=says):
        Folder(str(root)).load()


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces")
    for person in ("person1", "person2"):
        (root / person).rename(tmp_path / person)
    with pytest.raises(DataError, match="one class only"):
        Folder(str(root)).load()


def test_an_unreadable_picture_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder(tmp_path / "faces")
    locked = root / "person1" / "3.png"
    opening = Path.open

    def refuse(path: Path, mode: str = "r") -> IO[Any]:
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return opening(path, mode)

    # The tests may run as root, whom no permissions stop.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"person1/3\.png .*permissions"):
        Folder(str(root)).load()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
def test_a_turned_picture_is_turned_back(tmp_path: Path, orientation: int, format: str) -> None:
    """Written as a camera that is held this way would, by the EXIF standard's table; read upright."""
    upright = np.asarray(face().crop((0, 0, 48, 64)))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path, plain = tmp_path / "turned", tmp_path / "plain"
    image = Image.fromarray(np.ascontiguousarray(stored))
    image.save(path, format, exif=exif, quality=100)
    assert problem_with(path) is None
    Image.fromarray(upright).save(plain, "PNG")
    assert np.abs(decode(path, 64, 1).astype(int) - decode(plain, 64, 1)).max() <= (3 if format == "JPEG" else 0)


def test_an_unreadable_exif_block_leaves_the_picture_as_it_is(tmp_path: Path) -> None:
    path, plain = tmp_path / "odd.png", tmp_path / "plain.png"
    face().save(path, exif=b"Exif\0\0this is no EXIF block")
    face().save(plain)
    assert np.array_equal(decode(path, 32, 1), decode(plain, 32, 1))


OTHERS = [
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(/tmp/x) (w) file\n", "PostScript"),
    (b"\xc5\xd0\xd3\xc6" + bytes(40), "PostScript"),
    (b"\0\0\0\x20ftypavif" + bytes(40), "AVIF"),
    (b"\0\0\0\x20ftypheic" + bytes(40), "HEIC"),
    (b"DDS |\0\0\0" + bytes(120), "DDS"),
    (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "JPEG 2000"),
    (b"\xff\x4f\xff\x51" + bytes(40), "JPEG 2000"),
    (b"<!DOCTYPE html><html>404</html>", "web page"),
    (b"%PDF-1.4", "PDF"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    (b"no picture at all", ", ".join(FORMATS)),
]


@pytest.mark.parametrize(("content", "says"), OTHERS, ids=lambda value: value if isinstance(value, str) else "")
def test_other_formats_are_not_opened_whatever_their_names(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    assert says in str(problem_with(path))


def test_a_format_counts_by_content(tmp_path: Path) -> None:
    face().save(tmp_path / "face.jpg", "PNG")
    assert np.array_equal(decode(tmp_path / "face.jpg", 64, 1)[..., 0], np.asarray(face()))


BOMBS = {
    "png": _png_header(100_000, 100_000),
    "png below Pillow's limit": _png_header(10_000, 8_000),
    "bmp": b"BM"
    + struct.pack("<IHHI", 54, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 100_000, 100_000, 1, 24, *[0] * 6),
    "pgm": b"P5 100000 100000 255\n",
    "gif": b"GIF89a"
    + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0)
    + b"\x2c"
    + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0),
    "jpeg": b"\xff\xd8\xff\xc0"
    + struct.pack(">HBHHB", 11, 8, 65_500, 65_500, 1)
    + b"\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0",
    "tiff": b"II*\0\x08\0\0\0\6\0"
    + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((256, 100_000), (257, 100_000), (258, 8)))
    + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((259, 1), (262, 1), (273, 8)))
    + bytes(4),
    "webp": b"RIFF"
    + struct.pack("<I", 30)
    + b"WEBPVP8X"
    + struct.pack("<I", 10)
    + bytes(4)
    + b"\xfe\xff\0\xfe\xff\0"
    + bytes(8),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_header_that_asks_for_too_much_is_refused_unread(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(BOMBS[kind])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert problem_with(path) is not None
    with pytest.raises(DataError, match=r"face\.jpg"):
        decode(path, 8, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


@pytest.mark.parametrize("format", FORMATS)
def test_no_damage_gets_an_exception_of_a_library_out(tmp_path: Path, format: str) -> None:
    """Cut at every length, and with bytes changed at random: decoded, or refused by name."""
    path, damaged = tmp_path / "face", tmp_path / "damaged"
    face().resize((16, 16)).convert("RGB").save(path, format)
    whole, draw = path.read_bytes(), random.Random(0)
    versions = [whole[:length] for length in range(1, len(whole), max(1, len(whole) // 60))]
    for _ in range(150):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 6)):
            changed[draw.randrange(min(len(changed), 200))] = draw.randrange(256)
        versions.append(bytes(changed))
    for content in versions:
        damaged.write_bytes(content)
        problem = problem_with(damaged)
        assert problem is None or "\n" not in problem
        with contextlib.suppress(DataError):
            assert decode(damaged, 8, 3).shape == (8, 8, 3)


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "CMYK", "LAB"])
def test_odd_modes_are_refused_by_name(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "face.tif"
    image = face() if mode in ("I", "F", "I;16") else face().convert("RGB")
    (image.convert(mode) if mode != "LAB" else Image.new("LAB", (8, 8))).save(path)
    assert mode in str(problem_with(path))
