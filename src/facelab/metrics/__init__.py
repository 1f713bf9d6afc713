"""Metrics: pure functions of tensors, and declarations of their names, directions and units."""

from facelab.metrics.declaration import Metric

__all__ = ["Metric"]
