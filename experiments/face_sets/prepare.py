"""Write the study's face sets as folders of folders: python experiments/face_sets/prepare.py YALE LFW OUT.

YALE holds subjectNN/subjectNN.CONDITION.png, LFW holds PERSON/PERSON_NNNN.jpg; AT&T comes with facelab.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelab.data import ORL

SIDE, LEAST, MOST = 96, 10, 15  # pixels; pictures of a person of LFW


def side_lit(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A face as if one lamp lit it: an ellipsoid with a nose that reflects diffusely (Lambert), its far side in shadow.

    It is another model than `facelab.data.SideLight`, with which recognisers are trained.

    Args:
        image: (H, W, C) uint8.
        random: draws where the lamp is: 100 degrees to either side at most, from 30 below to 60 above.
    """
    height, width = image.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    across, down = x / 1.05, y / 1.25
    towards = np.sqrt(np.clip(1 - across**2 - down**2, 0.05, 1))
    nose = 0.5 * np.exp(-((x / 0.2) ** 2) - ((y - 0.1) / 0.3) ** 2)
    across = across + nose * np.sign(x) * np.minimum(1, np.abs(x) / 0.1)
    length = np.sqrt(across**2 + down**2 + towards**2)
    side, above = np.radians(random.uniform(-100, 100)), np.radians(random.uniform(-30, 60))
    lamp = (np.sin(side) * np.cos(above), -np.sin(above), np.cos(side) * np.cos(above))
    reflected = np.clip((across * lamp[0] + down * lamp[1] + towards * lamp[2]) / length, 0, None)
    light = cv2.GaussianBlur((0.04 + 1.3 * reflected).astype(np.float32), (0, 0), 1.0)
    return np.asarray(np.clip(np.rint(image * light[..., None]), 0, 255), dtype=np.uint8)


def att(out: Path) -> None:
    """AT&T as it is, and lit from a side, always in the same way."""
    faces, random = ORL().load(), np.random.default_rng(7)
    for index in range(len(faces)):
        image, person = faces.pixels[index], faces.label_names[faces.labels[index]]
        for name, pixels in (("att", image), ("att_lit", side_lit(image, random))):
            folder = out / name / person
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0]).save(folder / f"{index % 10 + 1}.png")


def yale(root: Path, out: Path) -> None:
    """The central square of each picture."""
    for path in sorted(root.glob("*/*.png")):
        image = Image.open(path).convert("L")
        left = (image.width - image.height) // 2
        square = image.crop((left, 0, left + image.height, image.height))
        folder = out / "yale" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        square.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(folder / path.name)


def lfw(people: Iterable[Path], out: Path) -> None:
    """People with ten or more pictures; of each the first 15, so that none outweighs the others."""
    for person in people:
        paths = sorted(person.glob("*.jpg"))
        if len(paths) >= LEAST:
            folder = out / "lfw10" / person.name
            folder.mkdir(parents=True, exist_ok=True)
            for path in paths[:MOST]:
                (folder / path.name).write_bytes(path.read_bytes())


def main() -> None:
    """Write att, att_lit, yale and lfw10."""
    if len(sys.argv) != 4:
        raise SystemExit("Expected three folders: python experiments/face_sets/prepare.py YALE LFW OUT")
    yale_root, lfw_root, out = map(Path, sys.argv[1:])
    att(out)
    yale(yale_root, out)
    lfw(sorted(path for path in lfw_root.iterdir() if path.is_dir()), out)


if __name__ == "__main__":
    main()
