"""Runs in MLflow. Nothing outside this package imports mlflow."""

from facelab.tracking.overview import recent_runs
from facelab.tracking.run import Status, TrackedRun
from facelab.tracking.store import ServerStore, SqliteStore, Store, connect

__all__ = ["ServerStore", "SqliteStore", "Status", "Store", "TrackedRun", "connect", "recent_runs"]
