"""Losses: pure functions of tensors. Each docstring cites its equation."""

from facelab.losses.adversarial import (
    hinge,
    interpolated_gradient_penalty,
    non_saturating,
    r1,
    r2,
    relativistic_logistic,
    wasserstein,
)
from facelab.losses.classification import cross_entropy
from facelab.losses.margin import adaface, arcface, cosface, normalised_softmax
from facelab.losses.pairs import supervised_contrastive, triplet
from facelab.losses.reconstruction import absolute_error, squared_error

__all__ = [
    "absolute_error",
    "adaface",
    "arcface",
    "cosface",
    "cross_entropy",
    "hinge",
    "interpolated_gradient_penalty",
    "non_saturating",
    "normalised_softmax",
    "r1",
    "r2",
    "relativistic_logistic",
    "squared_error",
    "supervised_contrastive",
    "triplet",
    "wasserstein",
]
