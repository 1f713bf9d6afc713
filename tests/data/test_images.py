"""Files that cannot be used are named, with what is wrong and the way out."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from facelab.data.images import decode, problem_with
from facelab.data.sources.folder import Folder
from facelab.data.sources.orl import ORL
from facelab.errors import DataError
from tests.conftest import Command


def _face() -> Image.Image:
    return Image.fromarray(ORL(image_size=64, last_person=2).load().pixels[0][..., 0])


def _zero_byte(path: Path) -> None:
    path.write_bytes(b"")


def _corrupt(path: Path) -> None:
    path.write_bytes(b"this is no picture")


def _truncated(path: Path) -> None:
    _face().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _sixteen_bit(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(path)


def _cmyk(path: Path) -> None:
    _face().convert("CMYK").save(path, format="JPEG")


def _postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")


def _jpeg2000_without_end(path: Path) -> None:
    path.write_bytes(b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(20))


def _dds_without_end(path: Path) -> None:
    path.write_bytes(b"DDS " + bytes([124, 0, 0, 0]) + bytes(12))


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _huge(path: Path) -> None:
    # A PNG header that claims 40,000 x 40,000 pixels in a few dozen bytes.
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


BAD: list[tuple[Callable[[Path], None], str]] = [
    (_zero_byte, "is empty (0 bytes)"),
    (_corrupt, "is corrupt"),
    (_truncated, "truncated"),
    (_sixteen_bit, "convert it to 8-bit"),
    (_cmyk, "is CMYK"),
    (_postscript, "is corrupt, or of another format"),
    (_jpeg2000_without_end, "is corrupt, or of another format"),
    (_dds_without_end, "is corrupt, or of another format"),
    (_pipe, "not a regular file"),
    (_huge, "make it smaller"),
]


def make_folder(root: Path, people: int = 3, pictures: int = 5, size: int = 40) -> Path:
    """Real faces in a folder of folders."""
    faces = ORL(image_size=size, last_person=people).load()
    for person in range(people):
        (root / f"person{person}").mkdir(parents=True)
        for picture in range(pictures):
            image = Image.fromarray(faces.pixels[person * 10 + picture][..., 0])
            image.save(root / f"person{person}" / f"{picture}.png")
    return root


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
    for number, (spoil, _) in enumerate(bad for bad in BAD if bad[0] is not _truncated):
        spoil(root / "person0" / f"bad{number}.png")
    with pytest.raises(DataError) as caught:
        Folder(str(root)).load()
    assert all(f"bad{number}.png" in str(caught.value) for number in range(len(BAD) - 1))


def test_a_sixteen_bit_ppm_is_not_quietly_shrunk(tmp_path: Path) -> None:
    path = tmp_path / "deep.ppm"
    path.write_bytes(b"P6\n# a comment\n2 2\n65535\n" + bytes(24))
    assert "16 bits" in str(problem_with(path))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_usual_modes_are_taken(tmp_path: Path, mode: str, channels: int) -> None:
    path = tmp_path / "face.png"
    _face().convert(mode).save(path)
    assert problem_with(path) is None
    assert decode(path, 32, channels).shape == (32, 32, channels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_tag_says(tmp_path: Path, orientation: int) -> None:
    turned: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        1: lambda pixels: pixels,
        2: np.fliplr,
        3: lambda pixels: np.rot90(pixels, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda pixels: np.rot90(pixels, -1),
        7: lambda pixels: np.rot90(np.transpose(pixels), 2),
        8: np.rot90,
    }
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / "face.png"
    _face().save(path, exif=exif)
    assert problem_with(path) is None
    assert np.array_equal(decode(path, 64, 1)[..., 0], turned[orientation](np.asarray(_face())))


def test_decoding_agrees_with_pillow_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    _face().save(path)
    by_hand = np.asarray(_face().resize((20, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(decode(path, 20, 1)[..., 0], by_hand)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: None, "holds no folders"),
        (lambda root: (root / "only").mkdir(), "holds no images"),
        (lambda root: make_folder(root / "x", people=2) and (root / "x").rename(root / "y"), "holds no images"),
    ],
    ids=["empty", "empty class", "one level too deep"],
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
    opening = Image.open

    def refuse(path: Path, formats: tuple[str, ...]) -> Image.Image:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return opening(path, formats=formats)

    # The tests may run as root, whom no permissions stop.
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DataError, match=r"person1/3.png may not be read"):
        Folder(str(root)).load()
