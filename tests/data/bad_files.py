"""A folder of faces with one of each kind of file that gives trouble."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from facelab.data.source import Rows
from facelab.data.sources.folder import Folder
from tests.data.made import make_folder

UNUSABLE = {
    "empty.png": "is empty (0 bytes)",
    "cut.jpg": "is damaged or truncated",
    "text.jpg": "is not an image of a supported format",
    "web.png": "holds a web page",
    "cmyk.jpg": "is CMYK",
    "deep.png": "not 8 bits per channel",
    "huge.png": "pixels, more than 64,000,000",
    "photo.heic": "unsupported format (.heic)",
    "escaping.png": "is a symbolic link out of",
    "pipe.png": "is a FIFO",
}
USABLE = {
    "turned.jpg": "Turned upright by EXIF",
    "clear.png": "With transparency",
    "blank.png": "Almost uniform",
    "tiny.png": "Smaller than data.image_size=32",
}


class InterruptedFolder(Folder):
    """A folder during whose listing somebody presses Ctrl-C."""

    def rows(self) -> Rows:
        raise KeyboardInterrupt


def make_bad_folder(root: Path) -> Path:
    """Real faces of three people, and in the first one's folder the files of `UNUSABLE` and `USABLE`."""
    folder = make_folder(root, people=3, pictures=6) / "person0"
    face = Image.open(folder / "0.png")
    random = np.random.default_rng(0)
    photo = Image.fromarray(random.integers(0, 256, (60, 40, 3), dtype=np.uint8))
    (folder / "empty.png").touch()
    photo.save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:1500])
    (folder / "text.jpg").write_text("no image", encoding="utf-8")
    (folder / "web.png").write_text("<!doctype html><title>404</title>", encoding="utf-8")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.zeros((40, 40), dtype=np.uint16)).save(folder / "deep.png")
    Image.new("1", (10_000, 6_500)).save(folder / "huge.png")
    (folder / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (root.parent / "outside.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "escaping.png").symlink_to(root.parent / "outside.png")
    os.mkfifo(folder / "pipe.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif)
    Image.merge("LA", (face.rotate(20), face)).save(folder / "clear.png")
    Image.new("L", (40, 40), 7).save(folder / "blank.png")
    face.rotate(50).resize((20, 20)).save(folder / "tiny.png")
    return root
