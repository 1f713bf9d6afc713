"""Exact search of a gallery by cosine, in blocks of bounded memory."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK_SCORES = 2**23  # of probes with enrolled people at a time: 32 MiB
_PROBES = 1024  # at a time


@dataclass(frozen=True)
class Nearest:
    """The most similar people of P probes, the best first.

    Args:
        people: (P, K) int64, places in the gallery.
        scores: (P, K) float32 cosines in [-1, 1].
    """

    people: Tensor
    scores: Tensor


def nearest(gallery: Tensor, probes: Tensor, k: int) -> Nearest:
    """Find the rows of a gallery with the highest cosines to each probe; every row is compared.

    Args:
        gallery: (N, D) float32, each of length 1.
        probes: (P, D) float32, of any length; a zero vector has cosine 0 with all.
        k: rows for each probe, at least 1; all N if there are fewer.
    """
    k = min(k, len(gallery))
    blocks = [_nearest(gallery, some, k) for some in torch.split(unit(probes), _PROBES)]
    people, scores = (torch.cat(of) for of in zip(*blocks, strict=True))
    return Nearest(people, scores.clamp_(-1, 1))


def _nearest(gallery: Tensor, probes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    people, scores = torch.empty(len(probes), 0, dtype=torch.int64), torch.empty(len(probes), 0)
    step = max(k, _BLOCK_SCORES // max(1, len(probes)))
    for start in range(0, len(gallery), step):
        found = probes @ gallery[start : start + step].T
        best, places = found.topk(min(k, found.shape[1]), dim=1)
        scores, people = torch.cat([scores, best], dim=1), torch.cat([people, places + start], dim=1)
        scores, kept = scores.topk(min(k, scores.shape[1]), dim=1)
        people = people.gather(1, kept)
    return people, scores


def unit(embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) of any float type, each scaled to length 1, in float32; a zero vector stays zero."""
    return F.normalize(embeddings.float(), dim=1)
