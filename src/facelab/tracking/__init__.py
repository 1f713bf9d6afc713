"""Runs in MLflow. Nothing outside this package imports mlflow."""

from facelab.tracking.overview import find_finished, recent_runs
from facelab.tracking.run import CONFIG_HASH, Status, TrackedRun
from facelab.tracking.store import ServerStore, SqliteStore, Store, connect

__all__ = [
    "CONFIG_HASH",
    "ServerStore",
    "SqliteStore",
    "Status",
    "Store",
    "TrackedRun",
    "connect",
    "find_finished",
    "recent_runs",
]
