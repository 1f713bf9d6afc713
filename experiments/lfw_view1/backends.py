"""Print what backends and views are worth on validation people: python experiments/lfw_view1/backends.py RUN..."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.config.build import build
from facelab.data import FaceSet
from facelab.data.splits.base import prepare
from facelab.metrics.verification import auc, roc
from facelab.models.base import FaceModule, to_float
from facelab.models.trained import load
from facelab.nets import AffineTestTimeAugmentation
from facelab.protocols.backends import Backend, fit
from facelab.protocols.pairs import genuine_pairs, impostor_pairs

BACKENDS: tuple[Backend, ...] = ("cosine", "lda", "plda")
Views = Callable[[Tensor], Iterable[Tensor]]
VIEWS: dict[str, Views] = {
    "the image alone": lambda images: [images],
    "with its mirror image": lambda images: [images, images.flip(3)],
    "18 variants": AffineTestTimeAugmentation(max_images=None),
}


@torch.no_grad()
def embed(module: FaceModule, faces: FaceSet, images: NDArray[np.int64], views: Views) -> NDArray[np.float32]:
    """Embeddings (N, D) of some images, averaged over views."""
    found = []
    for start in range(0, len(images), 128):
        pixels = np.stack([faces.pixels[int(i)] for i in images[start : start + 128]])
        batch = to_float(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        found.append(torch.stack([module.embed(view) for view in views(batch)]).mean(dim=0).float())
    return torch.cat(found).numpy()


def areas(folder: Path) -> dict[tuple[str, str], float]:
    """AUC over all pairs of the validation people, by views and backend, of the run of a folder."""
    trained = load(folder)
    built = build({key: trained.config[key] for key in ("data", "split")})
    faces, splits = prepare(built["data"].load(), built["split"])
    fitted = embed(trained.module, faces, splits.train, VIEWS["with its mirror image"])
    identities = faces.identities[splits.val]
    genuine, impostor = genuine_pairs(identities), impostor_pairs(identities)
    found: dict[tuple[str, str], float] = {}
    for views in VIEWS:
        vectors = embed(trained.module, faces, splits.val, VIEWS[views])
        for backend in BACKENDS:
            compared = fit(backend, fitted, faces.identities[splits.train])(vectors)
            scores = [torch.from_numpy(compared.pairs(kind.first, kind.second)) for kind in (genuine, impostor)]
            found[views, backend] = auc(roc(*scores))
    return found


def main() -> None:
    """Print a table for each folder of a run."""
    print("| run | embedding of | " + " | ".join(f"{backend}, AUC" for backend in BACKENDS) + " |")
    print("|---|---|" + "---|" * len(BACKENDS))
    for name in sys.argv[1:]:
        found = areas(Path(name))
        for views in VIEWS:
            cells = [f"{found[views, backend]:.3f}" for backend in BACKENDS]
            print(f"| {Path(name).name[:8]} | {views} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
