"""Heads, from embeddings to one score per class. The class with the highest score is the prediction."""

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
        return F.linear(F.normalize(embeddings), F.normalize(self.centres))
