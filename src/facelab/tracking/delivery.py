"""Deliver a run's records from its spool to the store, with a heartbeat and system metrics."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from PIL import Image

from facelab.errors import Interrupted, TrackingError
from facelab.tracking import environment
from facelab.tracking.models import ModelRecord, log_model
from facelab.tracking.spool import Item, Spool, Spooled
from facelab.tracking.store import connect, readable

HEARTBEAT = "heartbeat"
HEARTBEAT_EVERY_S = 10.0
SILENT_AFTER_S = 60.0  # seconds without a heartbeat after which a run counts as dead
REASON = "reason"
UNDELIVERED = "files.undelivered"
_TAG_CHARACTERS = 5000
_METRICS_PER_CALL = 1000
_DELIVER_EVERY_S = 1.0
_PATIENCE_S = 60.0
_SYSTEM_METRICS_EVERY_S = 5.0


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def deliver(run_id: str, spool: Spool, client: MlflowClient) -> None:
    """Send all waiting records to the store, oldest first.

    A record whose file is gone or cannot be read is left out, with a warning and a tag of the run.

    Args:
        run_id: of the run.
        spool: its records.
        client: of its store.

    Raises:
        MlflowException, OSError, SQLAlchemyError: the store rejected a record; records delivered before are not sent
            again.
        TrackingError: the spool names a file outside the run's folder.
    """
    metrics: list[Metric] = []
    last: Spooled | None = None

    def flush() -> None:
        if metrics and last is not None:
            for start in range(0, len(metrics), _METRICS_PER_CALL):
                client.log_batch(run_id, metrics=metrics[start : start + _METRICS_PER_CALL], synchronous=True)
            metrics.clear()
            spool.delivered(last)

    for spooled in spool.waiting():
        item = spooled.item
        if "metrics" in item:
            metrics += [Metric(k, v, item["time_ms"], item["step"]) for k, v in item["metrics"].items()]
            last = spooled
            if len(metrics) >= _METRICS_PER_CALL:
                flush()
        else:
            flush()
            try:
                _send(run_id, spool, client, item)
            except _LostFileError as error:
                _leave_out(run_id, spool.folder, client, str(error))
            spool.delivered(spooled)
    flush()


def was_deleted(run_id: str, client: MlflowClient) -> bool:
    """Whether a run was deleted in MLflow; False if the store is unreachable."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException as error:
        return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")
    except Exception:  # the store's driver may raise anything
        return False


def deleted_message(run_id: str, folder: Path) -> str:
    """Message for a run that was deleted in MLflow: where its records are, and how to restore it."""
    return (
        f"Run {run_id} was deleted in MLflow. Its files and records are kept in {folder}. Restore it on MLflow's page "
        f"or with: mlflow runs restore --run-id {run_id}. Then resume it with resume={run_id}, or deliver its records "
        "with facelab sync. To discard it, remove the folder."
    )


class _LostFileError(Exception):
    """A file that a record names is gone or cannot be read."""


def _own_file(folder: Path, name: str) -> Path:
    """Path of a file in the run's folder. Others are refused: a foreign spool could name any file of this machine."""
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise TrackingError(f"{folder / 'spool.jsonl'} names '{name}', which is outside the run's folder.")
    try:
        file.open("rb").close()
    except OSError as error:
        raise _LostFileError(f"{name} ({error.strerror})") from error
    return file


def _own_picture(folder: Path, name: str) -> Image.Image:
    file = _own_file(folder, name)
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise _LostFileError(f"{name} (not a readable image)") from error


def _leave_out(run_id: str, folder: Path, client: MlflowClient, lost: str) -> None:
    """Note on the run and for the user that a record is left out; it would hold up all later ones."""
    before = client.get_run(run_id).data.tags.get(UNDELIVERED)
    client.set_tag(run_id, UNDELIVERED, "; ".join(filter(None, [before, lost]))[:_TAG_CHARACTERS])
    print(f"Warning: run {run_id}: left out of MLflow, since it cannot be read: {folder}/{lost}", file=sys.stderr)


def _send(run_id: str, spool: Spool, client: MlflowClient, item: Item) -> None:
    if "picture" in item:
        image = _own_picture(spool.folder, item["file"])
        key, step, time_ms = item["picture"], item["step"], item["time_ms"]
        client.log_image(run_id, image, key=key, step=step, timestamp=time_ms, synchronous=True)
    elif "artifact" in item:
        client.log_artifact(run_id, str(_own_file(spool.folder, item["artifact"])), item.get("folder"))
    elif "model" in item:
        record = ModelRecord.of(item["model"])
        config, weights = (_own_file(spool.folder, name) for name in (record.config, record.weights))
        log_model(run_id, record, config, weights, client)
    elif "tag" in item:
        client.set_tag(run_id, item["tag"], item["value"])
    elif "dataset" in item:
        entity = Dataset(source_type="local", schema=None, **item["dataset"])
        client.log_inputs(run_id, [DatasetInput(entity, tags=[InputTag("mlflow.data.context", item["context"])])])
    elif "status" in item:
        _send_status(run_id, client, item)


def _send_status(run_id: str, client: MlflowClient, item: Item) -> None:
    """Replace the status and its reason, which may be of an earlier end, or of `facelab runs` after a silence."""
    if item["reason"]:
        client.set_tag(run_id, REASON, item["reason"])
    elif REASON in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, REASON)
    if item["status"] == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    else:
        client.set_terminated(run_id, item["status"], item["time_ms"])


class Courier:
    """Background thread that delivers a run's records and sends its heartbeat.

    Args:
        run_id: of the run.
        uri: of its store.
        spool: its records.
        when_deleted: called once, from the thread, if the run is deleted in MLflow while it is alive.
    """

    def __init__(self, run_id: str, uri: str, spool: Spool, when_deleted: Callable[[], None]) -> None:
        self._run_id, self._uri, self._spool = run_id, uri, spool
        self._when_deleted = when_deleted
        self._closing = threading.Event()
        self._ended = threading.Event()  # Thread.is_alive turns false after Ctrl-C in Thread.join (Python 3.11)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._live, name="facelab-tracking", daemon=True)
        self._monitor = SystemMetricsMonitor(run_id, tracking_uri=uri)
        steps = (step for kind, name, step in spool.known if kind == "metric" and name.startswith("system/"))
        self._monitor_step = 1 + max(steps, default=-1)
        self._next_heartbeat = self._next_monitoring = 0.0
        self.deleted = False  # whether the run was deleted in MLflow

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def finish(self, warn: Callable[[str], None]) -> None:
        """Deliver the remaining records, for up to a minute; warn if some are left."""
        self._closing.set()
        warned = False
        begun = time.monotonic()
        try:
            while not self._ended.wait(1.0) and time.monotonic() - begun < _PATIENCE_S:
                if self._error is not None and not warned and not self.deleted:
                    warn(
                        f"Waiting for {self._uri}: {readable(self._error)}. Ctrl-C stops waiting; deliver later with: "
                        "facelab sync"
                    )
                    warned = True
        except (KeyboardInterrupt, Interrupted):
            pass
        if self.deleted:
            warn(deleted_message(self._run_id, self._spool.folder))
        elif not self._ended.is_set():
            error = readable(self._error) if self._error else "no response"
            warn(
                f"The last records of run {self._run_id} could not be delivered to {self._uri}: {error}. They are kept "
                f"in {self._spool.folder}. Once the store is writable again, deliver them with: facelab sync"
            )

    def _live(self) -> None:
        self._work()
        self._ended.set()

    def _work(self) -> None:
        client: MlflowClient | None = None
        while not self.deleted:
            closing = self._closing.wait(_DELIVER_EVERY_S)
            try:
                self._list_packages()
                self._watch_system()
                client = client or connect(self._uri)
                if not closing and time.monotonic() >= self._next_heartbeat:
                    client.set_tag(self._run_id, HEARTBEAT, str(now_ms()))
                    self._next_heartbeat = time.monotonic() + HEARTBEAT_EVERY_S
                deliver(self._run_id, self._spool, client)
                self._error = None
                if closing:
                    return
            except Exception as error:  # the store's driver may raise anything; the thread must survive
                self._error = error
                self.deleted = client is not None and was_deleted(self._run_id, client)
                if self.deleted and not closing:
                    self._when_deleted()
                if closing:
                    time.sleep(_DELIVER_EVERY_S)

    def _list_packages(self) -> None:
        """Record the installed packages; in this thread, because it takes half a second."""
        file = self._spool.folder / "packages.txt"
        if not file.exists():
            file.write_text(environment.packages(), encoding="utf-8")
            self._spool.add({"artifact": file.name})

    def _watch_system(self) -> None:
        if time.monotonic() < self._next_monitoring:
            return
        self._next_monitoring = time.monotonic() + _SYSTEM_METRICS_EVERY_S
        self._monitor.collect_metrics()
        values: dict[str, Any] = self._monitor.aggregate_metrics()
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        self._spool.metrics({f"system/{name}": value for name, value in values.items()}, self._monitor_step, now_ms())
        self._monitor_step += 1
