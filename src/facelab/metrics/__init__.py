"""Metrics: pure functions of tensors, and the declaration of a metric."""

from facelab.metrics.declaration import Metric

__all__ = ["Metric"]
