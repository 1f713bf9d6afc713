"""Losses of classifiers."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy.

    Args:
        logits: (N, C) float.
        labels: (N,) int64 in [0, C).
        label_smoothing: share of the target distributed evenly over all classes, in [0, 1); Szegedy et al.,
            "Rethinking the Inception Architecture for Computer Vision", 2016, section 7.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: `label_smoothing` is outside [0, 1).
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
