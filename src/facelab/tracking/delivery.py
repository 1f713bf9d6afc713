"""From a run's spool to the store: what waits, heartbeat, system metrics."""

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
from facelab.tracking.spool import Item, Spool, Spooled
from facelab.tracking.store import connect, readable

HEARTBEAT = "heartbeat"
HEARTBEAT_EVERY_S = 10.0
SILENT_AFTER_S = 60.0  # a run without a heartbeat for so long is dead
REASON = "reason"
_METRICS_PER_CALL = 1000
_DELIVER_EVERY_S = 1.0
_PATIENCE_S = 60.0
_SYSTEM_METRICS_EVERY_S = 5.0


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def deliver(run_id: str, spool: Spool, client: MlflowClient) -> None:
    """Send all that waits, oldest first.

    Args:
        run_id: of the run.
        spool: its records.
        client: of its store.

    Raises:
        MlflowException, OSError, SQLAlchemyError: the store did not take it; what it took is not sent again.
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
            _send(run_id, spool, client, item)
            spool.delivered(spooled)
    flush()


def was_deleted(run_id: str, client: MlflowClient) -> bool:
    """Whether a run was deleted in MLflow; False where the store does not answer."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException as error:
        return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")
    except Exception:  # whatever the store's driver raises
        return False


def deleted_message(run_id: str, folder: Path) -> str:
    """What happened to a run that was deleted in MLflow, and what can be done."""
    return (
        f"Run {run_id} was deleted in MLflow. Its files and what was recorded are kept in {folder}. Restore it on "
        f"MLflow's page (or with: mlflow runs restore --run-id {run_id}), then go on with resume={run_id} or deliver "
        "with facelab sync; or remove the folder."
    )


def _own_file(folder: Path, name: str) -> Path:
    """A file of the run's folder; a spool from elsewhere could name any file of this machine."""
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise TrackingError(f"{folder / 'spool.jsonl'} names '{name}', which lies outside the run's folder.")
    return file


def _send(run_id: str, spool: Spool, client: MlflowClient, item: Item) -> None:
    if "picture" in item:
        with Image.open(_own_file(spool.folder, item["file"])) as image:
            client.log_image(
                run_id,
                image.convert("RGB"),
                key=item["picture"],
                step=item["step"],
                timestamp=item["time_ms"],
                synchronous=True,
            )
    elif "artifact" in item:
        client.log_artifact(run_id, str(_own_file(spool.folder, item["artifact"])))
    elif "tag" in item:
        client.set_tag(run_id, item["tag"], item["value"])
    elif "dataset" in item:
        entity = Dataset(source_type="local", schema=None, **item["dataset"])
        client.log_inputs(run_id, [DatasetInput(entity, tags=[InputTag("mlflow.data.context", item["context"])])])
    elif item.get("status") == "RUNNING":
        client.update_run(run_id, status="RUNNING")
        if REASON in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, REASON)
    elif "status" in item:
        if item["reason"]:
            client.set_tag(run_id, REASON, item["reason"])
        client.set_terminated(run_id, item["status"], item["time_ms"])


class Courier:
    """A thread that sends a run's records and shows that it is alive.

    Args:
        run_id: of the run.
        uri: of its store.
        spool: its records.
        when_deleted: called once, by the thread, when somebody has deleted the run in MLflow while it is alive.
    """

    def __init__(self, run_id: str, uri: str, spool: Spool, when_deleted: Callable[[], None]) -> None:
        self._run_id, self._uri, self._spool = run_id, uri, spool
        self._when_deleted = when_deleted
        self._closing = threading.Event()
        self._ended = threading.Event()  # not Thread.is_alive, which Ctrl-C in Thread.join turns false (Python 3.11)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._live, name="facelab-tracking", daemon=True)
        self._monitor = SystemMetricsMonitor(run_id, tracking_uri=uri)
        steps = (step for kind, name, step in spool.known if kind == "metric" and name.startswith("system/"))
        self._monitor_step = 1 + max(steps, default=-1)
        self._next_heartbeat = self._next_monitoring = 0.0
        self.deleted = False  # by somebody, in MLflow

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def finish(self, warn: Callable[[str], None]) -> None:
        """Send the rest, for up to a minute; warn if the store does not take it."""
        self._closing.set()
        said = False
        begun = time.monotonic()
        try:
            while not self._ended.wait(1.0) and time.monotonic() - begun < _PATIENCE_S:
                if self._error is not None and not said and not self.deleted:
                    warn(f"Waiting for {self._uri}: {readable(self._error)}. Ctrl-C leaves the rest to facelab sync.")
                    said = True
        except (KeyboardInterrupt, Interrupted):
            pass
        if self.deleted:
            warn(deleted_message(self._run_id, self._spool.folder))
        elif not self._ended.is_set():
            error = readable(self._error) if self._error else "it does not answer"
            warn(
                f"{self._uri} did not take the last values of run {self._run_id}: {error}. They are kept in "
                f"{self._spool.folder}; once the store can be written again, deliver them with: facelab sync"
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
            except Exception as error:  # whatever the store's driver raises: nothing may end this thread early
                self._error = error
                self.deleted = client is not None and was_deleted(self._run_id, client)
                if self.deleted and not closing:
                    self._when_deleted()
                if closing:
                    time.sleep(_DELIVER_EVERY_S)

    def _list_packages(self) -> None:
        """Here, since it takes half a second that training need not wait for."""
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
