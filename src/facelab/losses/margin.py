"""Losses with a margin between identities."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def additive_angular_margin(cosines: Tensor, labels: Tensor, *, margin_rad: float) -> Tensor:
    """Cosines in which every sample's angle to its own identity is widened by the margin.

    Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, equation 3:
    cos(theta + m) for the own identity. Where theta + m would pass pi, so that the cosine would rise again, it is
    continued as cos(theta) - m sin(m), as the authors' code does.

    Args:
        cosines: (N, C) float in [-1, 1], between embeddings and identity centres.
        labels: (N,) int64 in [0, C).
        margin_rad: m, in radians, in [0, pi/2].

    Returns:
        (N, C) float; equal to `cosines` but for the entries of the own identity.

    Raises:
        ValueError: `margin_rad` is outside [0, pi/2].
    """
    if not 0 <= margin_rad <= math.pi / 2:
        raise ValueError(f"margin_rad must be in [0, pi/2], got {margin_rad}")
    own = cosines.gather(1, labels[:, None]).float().clamp(-1 + 1e-6, 1 - 1e-6)
    sines = (1 - own.square()).sqrt()
    widened = own * math.cos(margin_rad) - sines * math.sin(margin_rad)
    past_pi = own <= math.cos(math.pi - margin_rad)
    widened = torch.where(past_pi, own - margin_rad * math.sin(margin_rad), widened)
    return cosines.scatter(1, labels[:, None], widened.to(cosines.dtype))


def scale_for(num_classes: int) -> float:
    """The scale of a softmax over cosines, by the number of classes.

    Zhang et al., "AdaCos: Adaptively Scaling Cosine Logits for Effectively Learning Deep Face Representations", 2019,
    equation 12, the fixed one: sqrt(2) log(C - 1). The more classes, the larger it has to be for the own one to
    outweigh all others together. Up to 35 classes it is 5, which had been best on 20 people.

    Args:
        num_classes: C, at least 1.
    """
    return max(5.0, math.sqrt(2) * math.log(max(num_classes - 1, 1)))


def normalised_softmax(cosines: Tensor, labels: Tensor, *, scale: float | None = None) -> Tensor:
    """Mean cross-entropy over scaled cosines: softmax on normalised embeddings and centres.

    Wang et al., "NormFace: L2 Hypersphere Embedding for Face Verification", 2017, equation 6. Few pictures and few
    identities train best with a small scale, which keeps the loss from being satisfied too soon; many identities cannot
    be told apart with it.

    Args:
        cosines: (N, C) float in [-1, 1].
        labels: (N,) int64 in [0, C).
        scale: s, length of the normalised embedding; None for `scale_for` the number of classes.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: `scale` is not above 0.
    """
    if scale is None:
        scale = scale_for(cosines.shape[1])
    if scale <= 0:
        raise ValueError(f"scale must be above 0, got {scale}")
    return F.cross_entropy(scale * cosines, labels)


def arcface(cosines: Tensor, labels: Tensor, *, margin_rad: float = 0.5, scale: float = 64.0) -> Tensor:
    """Mean cross-entropy over scaled cosines with an additive angular margin (ArcFace, equation 3).

    Args:
        cosines: (N, C) float in [-1, 1].
        labels: (N,) int64 in [0, C).
        margin_rad: widening of the angle to the own identity, in radians; the paper's is 0.5.
        scale: s, length of the normalised embedding; the paper's is 64, small sets train better with less.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: `margin_rad` is outside [0, pi/2], or `scale` is not above 0.
    """
    return normalised_softmax(additive_angular_margin(cosines, labels, margin_rad=margin_rad), labels, scale=scale)
