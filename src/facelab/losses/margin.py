"""Softmax losses over cosines, with and without an angular margin between identities."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def additive_angular_margin(cosines: Tensor, labels: Tensor, *, margin_rad: float) -> Tensor:
    """Add the margin to every sample's angle to its own identity.

    Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, equation 3:
    cos(theta + m) for the true identity. Where theta + m exceeds pi and the cosine would rise again, the result is
    cos(theta) - m sin(m), as in the authors' code.

    Args:
        cosines: (N, C) float in [-1, 1], between embeddings and identity centres.
        labels: (N,) int64 in [0, C).
        margin_rad: m, in radians, in [0, pi/2].

    Returns:
        (N, C) float; only the entries of the true identities differ from `cosines`.

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
    """Choose the scale of a softmax over cosines from the number of classes.

    Zhang et al., "AdaCos: Adaptively Scaling Cosine Logits for Effectively Learning Deep Face Representations", 2019,
    equation 12, the fixed scale: sqrt(2) log(C - 1). More classes need a larger scale for the true class to outweigh
    all others together. Up to 35 classes the scale is 5, the best value on 20 people.

    Args:
        num_classes: C, at least 1.
    """
    return max(5.0, math.sqrt(2) * math.log(max(num_classes - 1, 1)))


def normalised_softmax(cosines: Tensor, labels: Tensor, *, scale: float | None = None) -> Tensor:
    """Mean cross-entropy over scaled cosines: softmax on normalised embeddings and centres.

    Wang et al., "NormFace: L2 Hypersphere Embedding for Face Verification", 2017, equation 6. A small scale keeps the
    loss from saturating early and suits few images and identities; it cannot separate many identities.

    Args:
        cosines: (N, C) float in [-1, 1].
        labels: (N,) int64 in [0, C).
        scale: s, length of the normalised embedding; None for `scale_for(C)`.

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
        margin_rad: added to the angle to the true identity, in radians; 0.5 in the paper.
        scale: s, length of the normalised embedding; 64 in the paper, small data sets train better with less.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: `margin_rad` is outside [0, pi/2], or `scale` is not above 0.
    """
    return normalised_softmax(additive_angular_margin(cosines, labels, margin_rad=margin_rad), labels, scale=scale)


def cosface(cosines: Tensor, labels: Tensor, *, margin: float = 0.35, scale: float = 64.0) -> Tensor:
    """Mean cross-entropy over scaled cosines, the own one lowered by a margin.

    Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", 2018, equation 4.

    Args:
        cosines: (N, C) float in [-1, 1].
        labels: (N,) int64 in [0, C).
        margin: m, subtracted from the cosine to the true identity, in [0, 1]; 0.35 in the paper.
        scale: s, length of the normalised embedding; 64 in the paper, small data sets train better with less.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: `margin` is outside [0, 1], or `scale` is not above 0.
    """
    if not 0 <= margin <= 1:
        raise ValueError(f"margin must be in [0, 1], got {margin}")
    own = F.one_hot(labels, cosines.shape[1]).to(cosines)
    return normalised_softmax(cosines - margin * own, labels, scale=scale)


def adaface(
    cosines: Tensor, labels: Tensor, norm_scores: Tensor, *, margin: float = 0.4, h: float = 0.333, scale: float = 64.0
) -> Tensor:
    """Mean cross-entropy over scaled cosines with a margin that adapts to the quality of each image.

    Kim, Jain and Liu, "AdaFace: Quality Adaptive Margin for Face Recognition", 2022, section 3. The length of an
    embedding indicates quality q in [-1, 1]: the margins are -m q on the angle and m + m q on the cosine. Images of low
    quality have ArcFace's margin, which emphasises easy ones, those of medium quality CosFace's, and those of high
    quality an angular margin below 0 and twice CosFace's, which emphasises hard ones.

    Args:
        cosines: (N, C) float in [-1, 1].
        labels: (N,) int64 in [0, C).
        norm_scores: (N,) float, standardised lengths of the embeddings, as `NormAwareCosineHead` gives.
        margin: m, in radians and in cosines, in [0, pi/2]; 0.4 in the paper.
        h: concentration: `norm_scores` are multiplied by it, then clipped to [-1, 1]; above 0, 0.333 in the paper.
        scale: s, length of the normalised embedding; 64 in the paper.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: `margin` is outside [0, pi/2], or `h` or `scale` is not above 0.
    """
    if not 0 <= margin <= math.pi / 2:
        raise ValueError(f"margin must be in [0, pi/2], got {margin}")
    if h <= 0:
        raise ValueError(f"h must be above 0, got {h}")
    quality = (h * norm_scores[:, None].float()).clamp(-1, 1)
    own = cosines.gather(1, labels[:, None]).float().clamp(-1 + 1e-3, 1 - 1e-3)
    angle = (own.acos() - margin * quality).clamp(1e-3, math.pi - 1e-3)
    adapted = angle.cos() - (margin + margin * quality)
    return normalised_softmax(cosines.scatter(1, labels[:, None], adapted.to(cosines.dtype)), labels, scale=scale)
