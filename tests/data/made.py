"""Folders of real faces, made for a test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelab.data.columns import Column
from facelab.data.encoded import ImageFiles
from facelab.data.faces import FaceSet
from facelab.data.images import opened_file
from facelab.data.sources.orl import ORL
from facelab.errors import DataError


def make_folder(root: Path, people: int = 3, pictures: int = 5, size: int = 40) -> Path:
    """Real faces in a folder of folders."""
    faces = ORL(image_size=size, last_person=people).load()
    for person in range(people):
        (root / f"person{person}").mkdir(parents=True)
        for picture in range(pictures):
            image = Image.fromarray(faces.pixels[person * 10 + picture][..., 0])
            image.save(root / f"person{person}" / f"{picture}.png")
    return root


def make_images(root: Path, names: Sequence[str], size: int = 16) -> Path:
    """Images of noise with these paths below a folder, all different."""
    random = np.random.default_rng(len(names))
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (size, size, 3), np.uint8)).save(root / name)
    return root


def made_set(labels: NDArray[np.int64], label_names: Sequence[str]) -> FaceSet:
    """A set of black images of these people, each with its own name and digest."""
    names = [str(number) for number in range(len(labels))]
    pixels = np.zeros((len(labels), 8, 8, 1), np.uint8)
    return FaceSet("made up", "made up", pixels, names, names, {"identity": Column(labels, label_names)})


def made_table(label: str, **columns: NDArray[np.int64]) -> FaceSet:
    """A set of black images with columns of numbers; a negative number is no value."""
    count = len(next(iter(columns.values())))
    names = [str(number) for number in range(count)]
    texts = {name: [str(value) if value >= 0 else "" for value in values] for name, values in columns.items()}
    held = {name: Column.of(values) for name, values in texts.items()}
    pixels = np.zeros((count, 8, 8, 1), np.uint8)
    return FaceSet("made up", "made up", pixels, names, names, held, label)


def decode(path: Path, image_size: int, channels: int) -> NDArray[np.uint8]:
    """An image file as the sources decode it."""
    return ImageFiles([path]).decode(0, image_size, channels)


def problem_with(path: Path) -> str | None:
    """The message about an image file, or None if it is usable."""
    try:
        with opened_file(path):
            return None
    except DataError as error:
        return str(error)
