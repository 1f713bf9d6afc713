"""Runs in MLflow. Nothing outside this package imports mlflow."""

from facelab.tracking.run import TrackedRun
from facelab.tracking.store import ServerStore, SqliteStore, Store

__all__ = ["ServerStore", "SqliteStore", "Store", "TrackedRun"]
