"""What the figures of protocol=generation come to for images whose worth is known.

    python experiments/generators/calibrate.py EMBEDDER [FIRST LAST]

EMBEDDER is the folder of a face embedder's run, such as the one that `needs.embedder` of a GAN's run names. FIRST and
LAST are AT&T's people whose faces are compared, s1 to s20 by default, five for training and five held out of each.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from facelab.data import ORL, FewShot
from facelab.data.splits.base import prepare
from facelab.models.trained import embeddings, load
from facelab.protocols.generation_report import ReferenceModels, generation_report

Images = NDArray[np.uint8]
PEOPLE = 40  # in the AT&T faces


def parts(first: int, last: int) -> tuple[Images, Images]:
    """Training and held-out faces (N, 64, 64, 1) of people s<first> to s<last>."""
    faces, splits = prepare(ORL(image_size=64, first_person=first, last_person=last).load(), FewShot(5))
    train, test = (np.stack([faces.pixels[int(index)] for index in part]) for part in (splits.train, splits.test))
    return train, test


def known_images(train: Images, test: Images) -> dict[str, Images]:
    """Images of a known worth by name."""
    noise = np.random.default_rng(0).normal(0, 1, train.shape)
    levels = train.astype(float)
    of_each = levels.reshape(-1, 5, *train.shape[1:])
    made = {
        "training faces, mirrored": levels[:, :, ::-1],
        "training faces, blurred by 1 pixel": gaussian_filter(levels, (0, 1, 1, 0)),
        "training faces, blurred by 2 pixels": gaussian_filter(levels, (0, 2, 2, 0)),
        "training faces with noise of 10 levels": levels + 10 * noise,
        "mean of two faces of one person": ((of_each + np.roll(of_each, 1, axis=1)) / 2).reshape(train.shape),
        "mean of two people's faces": (levels + np.roll(levels, len(levels) // 2, axis=0)) / 2,
    }
    return {"held-out faces": test} | {name: images.clip(0, 255).astype(np.uint8) for name, images in made.items()}


def main(folder: Path, first: int, last: int) -> None:
    """Print the table, as Markdown."""
    module, (train, test) = load(folder).module, parts(first, last)

    def embed(images: Images) -> Tensor:
        return embeddings(module, images)

    compared = known_images(train, test)
    if last < PEOPLE:
        others, _ = parts(last + 1, PEOPLE)
        compared["real faces of other people"] = others[: len(train)]
    print("| images | multiple of the floor | precision | recall | copy test, z |\n|---|---|---|---|---|")
    for name, images in compared.items():
        found = generation_report(images, train, test, ReferenceModels(embed, lambda images: 1.0)).metrics
        kid, z = found["generation/kid_face_over_floor"], found["generation/copy_z"]
        shares = f"{found['generation/precision']:.0%} | {found['generation/recall']:.0%}"
        print(f"| {name} | {kid:.1f} | {shares} | {z:.1f} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    people = [int(argument) for argument in sys.argv[2:4]] or [1, 20]
    main(Path(sys.argv[1]), *people)
