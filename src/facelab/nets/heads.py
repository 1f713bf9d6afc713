"""Heads, from embeddings to one score per class. The class with the highest score is the prediction.

A head may offer a loss further values of each image: it names them in `offers`, and computes them in `offered`.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.encoders import glorot_uniform


class ClassicHead(nn.Module):
    """Linear output layer: one sigmoid unit for two classes, softmax for more.

    The sigmoid unit's logit z is returned as the pair (0, z): softmax of the pair gives sigmoid(z) for the second
    class, and its cross-entropy equals the binary cross-entropy of that sigmoid.

    Args:
        embedding_dim: length of the embeddings.
        num_classes: number of classes.
    """

    def __init__(self, embedding_dim: int, num_classes: int) -> None:
        super().__init__()
        self.output = nn.Linear(embedding_dim, 1 if num_classes == 2 else num_classes)
        self.apply(glorot_uniform)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N, embedding_dim) -> (N, num_classes)."""
        logits: Tensor = self.output(embeddings)
        return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


class CosineHead(nn.Module):
    """Cosines between embeddings and one learnt centre per identity: (N, embedding_dim) -> (N, num_classes).

    Args:
        embedding_dim: length of the embeddings.
        num_classes: number of identities.
    """

    def __init__(self, embedding_dim: int, num_classes: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.empty(num_classes, embedding_dim))
        nn.init.normal_(self.centres, std=0.01)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N, embedding_dim) -> (N, num_classes) in [-1, 1]."""
        with torch.autocast(embeddings.device.type, enabled=False):  # bfloat16 has a step of 0.004 near 1
            return F.linear(F.normalize(embeddings.float()), F.normalize(self.centres.float()))


class NormAwareCosineHead(CosineHead):
    """`CosineHead` that also offers the standardised lengths of the embeddings, for AdaFace.

    Kim, Jain and Liu, "AdaFace: Quality Adaptive Margin for Face Recognition", 2022, section 3: the mean and the
    standard deviation are moving averages over training batches, kept in buffers. The first batch sets them.

    Args:
        embedding_dim: length of the embeddings.
        num_classes: number of identities.
        momentum: weight of a batch in the moving averages, in (0, 1]; 0.01 in the paper.

    Raises:
        ValueError: `momentum` is outside (0, 1].
    """

    offers: ClassVar[tuple[str, ...]] = ("norm_scores",)
    norm_mean: Tensor
    norm_std: Tensor
    batches: Tensor

    def __init__(self, embedding_dim: int, num_classes: int, momentum: float = 0.01) -> None:
        super().__init__(embedding_dim, num_classes)
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be in (0, 1], got {momentum}")
        self.momentum = momentum
        self.register_buffer("norm_mean", torch.tensor(0.0))
        self.register_buffer("norm_std", torch.tensor(1.0))
        self.register_buffer("batches", torch.tensor(0))

    @torch.no_grad()
    def offered(self, embeddings: Tensor) -> dict[str, Tensor]:
        """`norm_scores` (N,) float32 of embeddings (N, D), without gradient; in training, updates the averages."""
        norms = embeddings.float().norm(dim=1).clamp(1e-3, 100)  # bounds of the authors' code
        if self.training and len(norms) > 1:
            weight = torch.where(self.batches > 0, self.momentum, 1.0)
            self.norm_mean.lerp_(norms.mean(), weight)
            self.norm_std.lerp_(norms.std(), weight)
            self.batches += 1
        return {"norm_scores": (norms - self.norm_mean) / (self.norm_std + 1e-3)}
