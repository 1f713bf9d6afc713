"""Record runs in MLflow. Only this package imports mlflow."""

from facelab.tracking.checks import record_check
from facelab.tracking.delivery import SILENT_AFTER_S, Courier
from facelab.tracking.environment import commit_of_now
from facelab.tracking.files import RunFiles
from facelab.tracking.finished import (
    EVALUATED_BY,
    EVALUATES,
    RecordedRun,
    download,
    evaluation_tags,
    is_run_id,
    recorded_run,
    tag_recorded,
)
from facelab.tracking.models import WEIGHTS_SHA256, ModelInterface, ModelRecord
from facelab.tracking.note import RunPage
from facelab.tracking.overview import find_finished, find_unfinished, recent_runs
from facelab.tracking.rows import ChildRow, children, histories, runs_by_id
from facelab.tracking.run import (
    COMMAND,
    CONFIG_HASH,
    INIT_FROM_SHA256,
    METRICS,
    NEEDS,
    SPLIT_FINGERPRINT,
    TOTAL_IMAGES,
    Status,
    TrackedRun,
    picture_file,
)
from facelab.tracking.store import ServerStore, SqliteStore, Store, connect, warm_up
from facelab.tracking.sweeps import (
    SweepRow,
    begin_sweep,
    child_tags,
    find_sweep,
    keep_report,
    record_registration,
    record_sweep,
    remove,
    run_page,
    supersede,
    sweep_names,
)
from facelab.tracking.watch import Watch

__all__ = [
    "COMMAND",
    "CONFIG_HASH",
    "EVALUATED_BY",
    "EVALUATES",
    "INIT_FROM_SHA256",
    "METRICS",
    "NEEDS",
    "SILENT_AFTER_S",
    "SPLIT_FINGERPRINT",
    "TOTAL_IMAGES",
    "WEIGHTS_SHA256",
    "ChildRow",
    "Courier",
    "ModelInterface",
    "ModelRecord",
    "RecordedRun",
    "RunFiles",
    "RunPage",
    "ServerStore",
    "SqliteStore",
    "Status",
    "Store",
    "SweepRow",
    "TrackedRun",
    "Watch",
    "begin_sweep",
    "child_tags",
    "children",
    "commit_of_now",
    "connect",
    "download",
    "evaluation_tags",
    "find_finished",
    "find_sweep",
    "find_unfinished",
    "histories",
    "is_run_id",
    "keep_report",
    "picture_file",
    "recent_runs",
    "record_check",
    "record_registration",
    "record_sweep",
    "recorded_run",
    "remove",
    "run_page",
    "runs_by_id",
    "supersede",
    "sweep_names",
    "tag_recorded",
    "warm_up",
]
