"""A small recogniser, untrained."""

from functools import partial
from typing import Any

import torch

from facelab.losses import cross_entropy
from facelab.models import CNN, Constant, Recipe
from facelab.nets import ConvEncoder, CosineHead


def tiny_cnn(**changed: Any) -> CNN:
    """For grey images of 16 x 16 and two classes; other arguments of `CNN` as given."""
    arguments: dict[str, Any] = {
        "encoder": partial(ConvEncoder, widths=[4], embedding_dim=4),
        "head": CosineHead,
        "loss": cross_entropy,
        "optimizer": torch.optim.SGD,
        "recipe": Recipe(batch_size=2, schedule=Constant(), max_images=2),
        "image_shape": (1, 16, 16),
        "num_classes": 2,
    }
    return CNN(**{**arguments, **changed})
