"""Backbones of timm, which is not among facelab's dependencies."""

import importlib
from typing import Any

from torch import Tensor, nn

from facelab.nets.encoders import ImageShape


class TimmEncoder(nn.Module):
    """A network of timm without its classifier, with random weights: (N, C, H, W) float -> (N, embedding_dim).

    Wightman, "PyTorch Image Models", 2019. Its pooled features are the embedding. Trained weights are loaded by
    `model.init_from`, where their names begin with `backbone.`.

    Args:
        image_shape: (C, H, W) of the images.
        name: of the network in timm, such as `resnet18`.
        **options: further arguments of `timm.create_model`, such as `img_size=112` for a vision transformer.

    Raises:
        ValueError: timm is not installed, or has no such network.
    """

    def __init__(self, image_shape: ImageShape, *, name: str, **options: Any) -> None:
        super().__init__()
        try:
            timm = importlib.import_module("timm")
        except ModuleNotFoundError:
            raise ValueError("TimmEncoder needs timm, which is not installed. Type: pip install timm") from None
        if not timm.is_model(name):  # nor a name such as hf-hub:..., which timm would download
            raise ValueError(f"timm {timm.__version__} has no network '{name}'; timm.list_models() lists them")
        self.backbone = timm.create_model(name, pretrained=False, in_chans=image_shape[0], num_classes=0, **options)
        # Some networks have a layer between their last feature map and the classifier: it stays, and sets the length.
        self.embedding_dim = int(getattr(self.backbone, "head_hidden_size", self.backbone.num_features))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, embedding_dim) float."""
        embeddings: Tensor = self.backbone(images)
        return embeddings
