"""How often a face that model=gan_transfer makes of an image still shows its person, and how much it differs.

    python experiments/generators/transfer.py GENERATOR [JUDGE]

GENERATOR is the folder of a run of model=gan_transfer on AT&T's people s1 to s10. Of each image of s11 to s20 eight
others are made. A face is recognised if the nearest of ten other real images, one of each person, is that of its
person: by its pixels, by local binary patterns and, if it is given, by JUDGE, the folder of a run of a recogniser of
other people.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facelab.data import ORL
from facelab.models.base import to_float
from facelab.models.sampling import latents, varied
from facelab.models.trained import Trained, embeddings, load
from facelab.nets.texture import LocalBinaryPatterns

Images = NDArray[np.uint8]
OF_EACH, PEOPLE, MADE = 10, 10, 8


def pixels(images: Images) -> Tensor:
    """Pixels (N, D) of images (N, H, W, C), without the mean of each image."""
    flat = torch.from_numpy(images).flatten(1).double()
    return flat - flat.mean(dim=1, keepdim=True)


def patterns(images: Images) -> Tensor:
    """Local binary patterns (N, D) of images (N, H, W, C)."""
    batch = to_float(torch.from_numpy(images).permute(0, 3, 1, 2))
    found: Tensor = LocalBinaryPatterns(tuple(batch.shape[1:]), cells=4)(batch)  # type: ignore[arg-type]
    return found


def recognised(probes: Tensor, gallery: Tensor) -> float:
    """Share of probes (P, I, M, D) of person p and image i nearest to image i + 1 of the same person.

    Args:
        probes: M of each image.
        gallery: (P, I, D), the real images; image i is compared with image i + 1 of everyone, the last with the first.
    """
    shown = F.normalize(gallery.roll(-1, dims=1), dim=-1)
    similarities = torch.einsum("pimd,qid->pimq", F.normalize(probes, dim=-1), shown)
    own = torch.arange(len(probes))[:, None, None]
    return float((similarities.argmax(dim=-1) == own).double().mean())


def alike(first: Tensor, second: Tensor) -> float:
    """Mean cosine of features (..., D)."""
    return float(F.cosine_similarity(first, second, dim=-1).mean())


def rows(judge: str, real: Images, made: Images, embed: Callable[[Images], Tensor]) -> list[str]:
    """Rows of a Markdown table.

    Args:
        judge: what compares the faces.
        real: (P * I, H, W, C), the images of each person after another.
        made: (P * I * M, H, W, C), those made of each.
        embed: images (N, H, W, C) -> features (N, D).
    """
    given = embed(real).reshape(PEOPLE, OF_EACH, -1)
    faces = embed(made).reshape(PEOPLE, OF_EACH, -1, given.shape[-1])
    others = torch.stack([given.roll(shift, dims=1) for shift in range(1, OF_EACH - 1)], dim=2)
    compared = {"the given image itself": given[:, :, None], "other real images": others, "made of it": faces}
    return [
        f"| {judge} | {name} | {recognised(probes, given):.1%} | {alike(probes, given[:, :, None]):.3f} | "
        f"{alike(probes, probes.roll(1, dims=2)):.3f} |"
        for name, probes in compared.items()
    ]


def main(generator: Trained, judge: Trained | None) -> None:
    """Print the table, as Markdown."""
    faces = ORL(image_size=generator.metadata.image_shape[1], first_person=11, last_person=20).load()
    real = np.stack([faces.pixels[i] for i in range(len(faces))])
    drawn = latents(MADE * len(real), generator.module.latent_dim, seed=0)  # type: ignore[arg-type]
    made = varied(generator.module, real.repeat(MADE, axis=0), drawn)
    judges: dict[str, Callable[[Images], Tensor]] = {"pixels": pixels, "local binary patterns": patterns}
    if judge is not None:
        judges["recogniser"] = lambda images: embeddings(judge.module, images)
    print("| judge | images | recognised | cosine to the given image | cosine to each other |\n|---|---|---|---|---|")
    for name, embed in judges.items():
        print("\n".join(rows(name, real, made, embed)), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(load(Path(sys.argv[1])), load(Path(sys.argv[2])) if sys.argv[2:] else None)
