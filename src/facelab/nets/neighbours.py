"""A head that compares embeddings with those of the training images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class NearestNeighbours(nn.Module):
    """Scores of classes by their nearest stored embedding: (N, embedding_dim) -> (N, num_classes).

    A score is minus the squared Euclidean distance, so the class with the highest score is that of the nearest
    neighbour (Cover and Hart, "Nearest Neighbor Pattern Classification", 1967). A class without a stored embedding has
    minus infinity.

    Args:
        embedding_dim: length of the embeddings.
        num_classes: number of classes.
    """

    embeddings: Tensor
    labels: Tensor

    def __init__(self, embedding_dim: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("embeddings", torch.zeros(0, embedding_dim))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))

    def store(self, embeddings: Tensor, labels: Tensor) -> None:
        """Replace the stored embeddings (N, embedding_dim) and their labels (N,) int64 in [0, num_classes)."""
        self.embeddings, self.labels = embeddings.to(self.embeddings), labels.to(self.labels)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N, embedding_dim) -> (N, num_classes), at most 0."""
        lengths = embeddings.square().sum(dim=1, keepdim=True) + self.embeddings.square().sum(dim=1)
        distances = (lengths - 2 * embeddings @ self.embeddings.T).clamp_min(0)
        none = torch.full_like(embeddings[:, :1], -torch.inf).expand(-1, self.num_classes)
        return none.scatter_reduce(1, self.labels.expand_as(distances), -distances, "amax")

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take the number of stored embeddings from the state, which has it from the training images."""
        embeddings, labels = (state_dict.get(f"{prefix}{name}") for name in ("embeddings", "labels"))
        if embeddings is not None and labels is not None:
            if len(embeddings) != len(labels) or (
                len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes
            ):
                error_msgs.append(f"{prefix}labels: expected one in [0, {self.num_classes}) for each stored embedding")
                return
            self.embeddings = self.embeddings.new_zeros(len(embeddings), self.embeddings.shape[1])
            self.labels = self.labels.new_zeros(len(labels))
        arguments = (state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        super()._load_from_state_dict(*arguments)
