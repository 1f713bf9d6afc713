"""Metrics of generated faces against real ones, on the features of a face embedder."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.data.faces import Pixels
from facelab.metrics.generation import (
    copy_statistic,
    frechet_distance,
    kernel_distance,
    kernel_distance_subsets,
    nearest,
    precision_recall,
)
from facelab.protocols import plots
from facelab.protocols.base import Report, Table

MOST_REAL_FACES = 2000
_SUBSETS = 100
_FACES_AT_ONCE = 2048  # in memory
_SHOWN = 16
NEIGHBOURS = 3  # as in Kynkaanniemi et al., 2019
LEAST_REAL_FACE_SHARE = 0.95  # below it, the face classifier does not know such faces
COPY_Z = -3.0  # Meehan et al., 2020, section 4: below it, a model is called data-copying

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class ReferenceModels:
    """Trained models that evaluate images (N, H, W, C) uint8.

    Args:
        embed: returns embeddings (N, D) float32.
        face_share: returns the share of images classified as faces, in [0, 1].
        inception: returns Inception features (N, 2048) float32; None without an Inception network.
    """

    embed: Callable[[Images], Tensor]
    face_share: Callable[[Images], float]
    inception: Callable[[Images], Tensor] | None = None


def generation_report(samples: Images, train: Pixels, held_out: Images, reference: ReferenceModels) -> Report:
    """Compare generated faces with real ones.

    Features are the embedder's embeddings, scaled to length sqrt(D), so that the kernel of KID depends on their cosine.
    Distances are to the held-out real faces, so that copying the training faces does not pay off. Frechet distance,
    precision and recall depend on the number of faces; they compare equally many of each kind. The nearest training
    face is looked for among all of them; all else compares at most 2,000 training faces, evenly spaced.

    `generation/kid_face` (mean over 100 subsets of half the held-out faces' number; `kid_face_sd` their standard
    deviation) and `generation/frechet_face`. `..._floor` is the value of real faces: for KID the mean absolute distance
    of two random halves of all real faces over 100 draws, for the Frechet distance that of training to held-out faces.
    `generation/precision` and `generation/recall` (Kynkaanniemi et al., 2019, k = 3) of samples against the training
    faces; with `_real`, of held-out faces against the training faces.
    `generation/face_share` is the share of samples that the face classifier accepts; with `_real`, of held-out faces.
    A note warns where it accepts fewer than 95 % of these.
    `generation/copy_z` is the statistic of Meehan et al., 2020: below -3, samples lie closer to the training faces than
    unseen real faces do. `generation/copy_share` is the share of samples whose distance to the nearest training face is
    below that of 99 % of the held-out faces.

    Args:
        samples: (S, H, W, C) uint8 generated faces.
        train: N real training faces (H, W, C) uint8, read in blocks.
        held_out: (M, H, W, C) uint8 real faces that were not trained on.
        reference: trained models that evaluate the faces.
    """
    blocks = [range(len(train))[i : i + _FACES_AT_ONCE] for i in range(0, len(train), _FACES_AT_ONCE)]
    of_train = torch.cat([reference.embed(np.stack([train[i] for i in block])) for block in blocks])
    features = [_at_length(found) for found in (reference.embed(samples), of_train, reference.embed(held_out))]
    metrics = _metrics(*features)
    metrics["generation/face_share"] = reference.face_share(samples)
    metrics["generation/face_share_real"] = reference.face_share(held_out)
    if reference.inception is not None:
        seen, real = reference.inception(samples), reference.inception(held_out)
        size = min(len(real) // 2, 1000)
        metrics["generation/kid"], _ = kernel_distance_subsets(real, seen, _SUBSETS, size, seed=0)
        metrics["generation/fid"] = frechet_distance(_spread(real, min(len(real), len(seen))), seen[: len(real)])
    drawn = {"nearest_training_faces": _nearest_faces(samples, train, features)}
    return Report(metrics, _table(metrics), images=drawn, notes=_notes(metrics))


def spread(values: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most `most` of the values, evenly spaced."""
    places = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).astype(int))
    kept: NDArray[np.int64] = values[places]
    return kept


def _notes(metrics: dict[str, float]) -> list[str]:
    real = metrics["generation/face_share_real"]
    if real >= LEAST_REAL_FACE_SHARE:
        return []
    return [
        f"generation/face_share means nothing here: the face classifier accepts only {real:.1%} of the real test faces "
        f"(generation/face_share_real; expected: {LEAST_REAL_FACE_SHARE:.0%} or more), so it does not know such faces. "
        "Compare models by generation/kid_face, precision and recall, or train a better classifier: longer, or on "
        "larger images, by model.recipe.max_images=... and data.image_size=... in protocol.generation.face_classifier."
    ]


def _metrics(samples: Tensor, all_train: Tensor, held_out: Tensor) -> dict[str, float]:
    train = all_train[torch.from_numpy(spread(np.arange(len(all_train)), MOST_REAL_FACES))]
    kid, kid_sd = kernel_distance_subsets(held_out, samples, _SUBSETS, max(2, len(held_out) // 2), seed=0)
    floor = _kid_floor(torch.cat([train, held_out]))
    size = min(len(samples), len(train), len(held_out))
    as_many, of_train, of_held_out = samples[:size], _spread(train, size), _spread(held_out, size)
    precision, recall = precision_recall(of_train, as_many, NEIGHBOURS)
    precision_real, recall_real = precision_recall(of_train, of_held_out, NEIGHBOURS)
    to_train, _ = nearest(samples, all_train)
    unseen_to_train, _ = nearest(held_out, all_train)
    return {
        "generation/kid_face": kid,
        "generation/kid_face_sd": kid_sd,
        "generation/kid_face_floor": floor,
        "generation/kid_face_over_floor": kid / floor,
        "generation/frechet_face": frechet_distance(of_held_out, as_many),
        "generation/frechet_face_floor": frechet_distance(of_held_out, of_train),
        "generation/precision": precision,
        "generation/recall": recall,
        "generation/precision_real": precision_real,
        "generation/recall_real": recall_real,
        "generation/copy_z": copy_statistic(to_train, unseen_to_train),
        "generation/copy_share": float((to_train < torch.quantile(unseen_to_train, 0.01)).double().mean()),
    }


def _spread(features: Tensor, size: int) -> Tensor:
    """`size` rows of the features, evenly spaced."""
    return features[torch.linspace(0, len(features) - 1, size).long()]


def _kid_floor(real: Tensor) -> float:
    """Mean absolute KID of random halves of the real faces: sampling noise, since the expected distance is 0."""
    random = torch.Generator().manual_seed(0)
    half = len(real) // 2
    orders = [torch.randperm(len(real), generator=random) for _ in range(_SUBSETS)]
    return float(np.mean([abs(kernel_distance(real[o[:half]], real[o[half : 2 * half]])) for o in orders]))


def _at_length(embeddings: Tensor) -> Tensor:
    """Scale every row of the embeddings (N, D) to length sqrt(D)."""
    rows = embeddings.double()
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return unit * math.sqrt(rows.shape[1])


def _table(metrics: dict[str, float]) -> Table:
    def value(name: str, form: str) -> str:
        found = metrics.get(f"generation/{name}")
        return "" if found is None else format(found, form)

    rows = [
        [
            "KID, face embedder",
            f"{value('kid_face', '.4f')} ± {value('kid_face_sd', '.4f')}",
            value("kid_face_floor", ".4f"),
        ],
        ["Frechet distance, face embedder", value("frechet_face", ".1f"), value("frechet_face_floor", ".1f")],
        ["precision", value("precision", ".1%"), value("precision_real", ".1%")],
        ["recall", value("recall", ".1%"), value("recall_real", ".1%")],
        ["accepted as faces", value("face_share", ".1%"), value("face_share_real", ".1%")],
        [f"copy test, z (copies below {COPY_Z:g})", value("copy_z", ".1f"), ""],
        ["nearer to a training face than 99 % of unseen", value("copy_share", ".1%"), ""],
    ]
    if "generation/kid" in metrics:
        rows += [["KID, Inception", value("kid", ".4f"), ""], ["FID", value("fid", ".1f"), ""]]
    return Table("generated faces", ["", "generated", "real"], rows)


def _nearest_faces(samples: Images, train: Pixels, features: list[Tensor]) -> plots.Plot:
    """Pairs of rows: samples above, the nearest training face of each below."""
    shown = min(_SHOWN, len(samples))
    _, index = nearest(features[0][:shown], features[1])
    columns = 8
    rows: list[Images] = []
    for start in range(0, shown - columns + 1, columns):
        beneath = np.stack([train[i] for i in index[start : start + columns].tolist()])
        rows += [samples[start : start + columns], beneath]
    return plots.tile(np.stack(rows))
