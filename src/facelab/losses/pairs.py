"""Losses that compare the embeddings of a batch with each other. Draw batches with `model.recipe.sampling=pk`.

With several processes, each compares the images of its own share of the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def triplet(embeddings: Tensor, labels: Tensor, *, margin: float | None = None) -> Tensor:
    """Triplet loss with batch-hard mining, on normalised embeddings.

    Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017, equation 5 (batch
    hard), with the soft margin of section 2 by default: every image is compared with the farthest image of its own
    class and the nearest image of another one. The distance is Euclidean, not squared, as the paper advises; embeddings
    are normalised as in Schroff et al., "FaceNet", 2015, section 3.1, since they are compared by cosine later.

    Args:
        embeddings: (N, D) float.
        labels: (N,) int64; at least one class must have two images, and at least two classes must be present.
        margin: m, above 0, in distances of normalised embeddings, which are at most 2; None for the soft margin
            log(1 + exp(d)), which keeps pulling.

    Returns:
        Scalar, not below 0; the mean over the images that have both kinds of partner, and 0 if none has.

    Raises:
        ValueError: `margin` is not above 0.
    """
    if margin is not None and margin <= 0:
        raise ValueError(f"margin must be above 0, got {margin}")
    # The square root has no gradient at 0.
    distances = (2 - 2 * _cosines(embeddings)).clamp_min(1e-6).sqrt()
    same = labels[:, None] == labels
    other = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    farthest = distances.masked_fill(~(same & other), -torch.inf).amax(dim=1)
    nearest = distances.masked_fill(same, torch.inf).amin(dim=1)
    usable = farthest.isfinite() & nearest.isfinite()
    excess = torch.where(usable, farthest - nearest, 0.0)
    losses = F.softplus(excess) if margin is None else F.relu(excess + margin)
    return losses.masked_fill(~usable, 0.0).sum() / usable.sum().clamp_min(1)


def supervised_contrastive(embeddings: Tensor, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss (SupCon) on normalised embeddings.

    Khosla et al., "Supervised Contrastive Learning", 2020, equation 2 (the sum over positives outside the logarithm).
    The batch is taken as it is: there is no second view of each image, and no projection network.

    Args:
        embeddings: (N, D) float.
        labels: (N,) int64; images without another one of their class only count as negatives.
        temperature: tau, above 0; 0.1 in the paper.

    Returns:
        Scalar, in nats, not below 0; the mean over images with a partner of their class, and 0 if none has.

    Raises:
        ValueError: `temperature` is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    logits = (_cosines(embeddings) / temperature).masked_fill(itself, -torch.inf)
    positive = (labels[:, None] == labels) & ~itself
    shares = (logits - logits.logsumexp(dim=1, keepdim=True)).masked_fill(~positive, 0.0)
    partners = positive.sum(dim=1)
    losses = -shares.sum(dim=1) / partners.clamp_min(1)
    return losses.sum() / (partners > 0).sum().clamp_min(1)


def _cosines(embeddings: Tensor) -> Tensor:
    """Cosines (N, N) float32 between all embeddings."""
    with torch.autocast(embeddings.device.type, enabled=False):  # bfloat16 has a step of 0.004 near 1
        unit = F.normalize(embeddings.float())
        return unit @ unit.T
