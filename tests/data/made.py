"""Folders of real faces, made for a test."""

from pathlib import Path

from PIL import Image

from facelab.data.sources.orl import ORL


def make_folder(root: Path, people: int = 3, pictures: int = 5, size: int = 40) -> Path:
    """Real faces in a folder of folders."""
    faces = ORL(image_size=size, last_person=people).load()
    for person in range(people):
        (root / f"person{person}").mkdir(parents=True)
        for picture in range(pictures):
            image = Image.fromarray(faces.pixels[person * 10 + picture][..., 0])
            image.save(root / f"person{person}" / f"{picture}.png")
    return root
