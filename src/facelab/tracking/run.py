"""One training run in MLflow, from start to end."""

import getpass
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from PIL import Image

from facelab.errors import Interrupted, TrackingError
from facelab.tracking import environment
from facelab.tracking.spool import Item, Spool, Spooled
from facelab.tracking.store import Store, connect

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

HEARTBEAT = "heartbeat"
REASON = "reason"
CONFIG_HASH = "config.hash"
METRICS = "metrics.declared"
NEEDS = "needs."
TOTAL_IMAGES = "total_images"
HEARTBEAT_EVERY_S = 10.0
_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000
_DELIVER_EVERY_S = 1.0
_PATIENCE_S = 60.0
_SYSTEM_METRICS_EVERY_S = 5.0


class TrackedRun:
    """A run that is recorded: everything goes to its spool first, and from there to the store.

    Training, which may be another process, adds; within `delivering` a thread sends. Made by `create` or `open`.

    Args:
        folder: of the run, `<runs folder>/<run id>`.
        uri: MLflow's tracking URI of the store.
        name: on MLflow's page.
    """

    def __init__(self, folder: Path, uri: str, name: str) -> None:
        self.folder, self.uri, self.name = folder, uri, name
        self.id = folder.name
        self.spool = Spool(folder)

    @classmethod
    def create(
        cls,
        store: Store,
        name: str,
        params: Mapping[str, str],
        runs_folder: Path,
        tags: Mapping[str, str] | None = None,
    ) -> "TrackedRun":
        """Begin a run.

        Args:
            store: where to.
            name: the run's name on MLflow's page.
            params: what the run was asked to do; values are written as text.
            runs_folder: gets a folder of the run's id.
            tags: further ones, besides those on code, packages and hardware.

        Raises:
            TrackingError: the store cannot be reached or written; no run has been made then.
        """
        client, experiment_id = store.open()
        facts = {
            **environment.git_state(environment.code_folder()),
            **environment.hardware(),
            **environment.versions(),
            "mlflow.user": _user(),
            "mlflow.source.name": "facelab train",
            "mlflow.source.type": "LOCAL",
            HEARTBEAT: str(_now_ms()),
            **(tags or {}),
        }
        try:
            run_id: str = client.create_run(experiment_id, tags=facts, run_name=name).info.run_id
            try:
                pairs = [Param(key, value) for key, value in params.items()]
                for start in range(0, len(pairs), _PARAMS_PER_CALL):
                    client.log_batch(run_id, params=pairs[start : start + _PARAMS_PER_CALL])
            except (MlflowException, OSError):
                with suppress(MlflowException, OSError):  # what went wrong before is what the user should hear
                    client.set_terminated(run_id, "FAILED")
                raise
        except (MlflowException, OSError) as error:
            raise TrackingError(f"{store.uri} could not be written: {error}") from error
        return cls.adopt(store, run_id, name, runs_folder)

    @classmethod
    def open(cls, folder: Path) -> "TrackedRun":
        """A run that was begun before.

        Raises:
            TrackingError: the folder is not one of a run.
        """
        header = next((item for item in Spool(folder).items() if "run" in item), None) if folder.is_dir() else None
        if header is None:
            raise TrackingError(f"{folder} is not the folder of a run.")
        return cls(folder.absolute(), header["uri"], header["name"])

    @classmethod
    def adopt(cls, store: Store, run_id: str, name: str, runs_folder: Path) -> "TrackedRun":
        """A run of the store that has no folder here: it gets one."""
        folder = (runs_folder / run_id).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder, store.uri, name)
        run.spool.add({"run": run_id, "uri": store.uri, "name": name})
        return run

    @property
    def ended(self) -> Status | None:
        """How it ended, as far as it was recorded here; None if it did not."""
        said = [item["status"] for item in self.spool.items() if "status" in item]
        return said[-1] if said and said[-1] != "RUNNING" else None

    def settle(self) -> bool:
        """Deliver what waits, if the store takes it and no other process is at it; whether all is delivered."""
        with suppress(TrackingError, MlflowException, OSError), self.alone():
            self.deliver(connect(self.uri))
        return not self.spool.waiting()

    def recorded_tag(self, key: str) -> str | None:
        """A tag set before; None if it was not."""
        return next((str(item["value"]) for item in self.spool.items() if item.get("tag") == key), None)

    def need(self, name: str) -> str:
        """Id of the run that this one needs as `name`; recorded before it began."""
        run_id = self.recorded_tag(f"{NEEDS}{name}")
        assert run_id is not None, f"{self.id} needs no {name}"
        return run_id

    def metrics(self, values: Mapping[str, float], images_seen: int) -> None:
        """Record values by name at a number of images seen; those that are recorded already stay as they are."""
        self.spool.metrics(values, images_seen, _now_ms())

    def image(self, key: str, file: str, images_seen: int) -> None:
        """Record a PNG file of the run's folder, which MLflow shows on a slider over images seen."""
        self.spool.picture(key, file, images_seen, _now_ms())

    def file(self, file: str) -> None:
        """Keep a copy of a file of the run's folder among its artifacts."""
        self.spool.add({"artifact": file})

    def tag(self, key: str, value: str) -> None:
        """Set a tag."""
        self.spool.add({"tag": key, "value": value})

    def tag_now(self, key: str, value: str) -> None:
        """Set a tag of a run that has ended; what the store does not take stays for `facelab sync`."""
        self.tag(key, value)
        self.settle()

    def dataset(self, name: str, fingerprint: str, source: str, profile: str, context: str) -> None:
        """Record which data were used.

        Args:
            name: of the data set.
            fingerprint: SHA-256 of its contents, in hex; MLflow shows the first 36 characters.
            source: where the data came from.
            profile: what is known of them, as JSON.
            context: what they were used for.
        """
        facts = {"name": name, "digest": fingerprint[:36], "source": source, "profile": profile}
        self.spool.add({"dataset": facts, "context": context})

    def status(self, status: Status, reason: str = "") -> None:
        """Say how the run stands.

        Args:
            status: as on MLflow's page.
            reason: why, if it did not finish; kept as the tag `reason`.
        """
        self.spool.add({"status": status, "reason": reason[:5000], "time_ms": _now_ms()})

    @contextmanager
    def delivering(self, warn: Callable[[str], None]) -> Iterator[None]:
        """Within the block the run is alive: what is recorded is sent, with a heartbeat and system metrics.

        Args:
            warn: told if the store is away at the end.

        Raises:
            TrackingError: another process does the same.
        """
        with self.alone():
            courier = _Courier(self)
            courier.start()
            try:
                yield
            finally:
                courier.finish(warn)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes away from this run.

        Raises:
            TrackingError: another process is at it.
        """
        lock = FileLock(self.folder / "alive.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise TrackingError(f"run {self.id} is being trained by another process.") from error
        try:
            yield
        finally:
            lock.release()

    def deliver(self, client: MlflowClient) -> None:
        """Send all that waits, oldest first.

        Raises:
            MlflowException, OSError: the store did not take it; what it took is not sent again.
        """
        metrics: list[Metric] = []
        last: Spooled | None = None

        def flush() -> None:
            if metrics and last is not None:
                for start in range(0, len(metrics), _METRICS_PER_CALL):
                    client.log_batch(self.id, metrics=metrics[start : start + _METRICS_PER_CALL], synchronous=True)
                metrics.clear()
                self.spool.delivered(last)

        for spooled in self.spool.waiting():
            item = spooled.item
            if "metrics" in item:
                metrics += [Metric(k, v, item["time_ms"], item["step"]) for k, v in item["metrics"].items()]
                last = spooled
                if len(metrics) >= _METRICS_PER_CALL:
                    flush()
            else:
                flush()
                self._send(client, item)
                self.spool.delivered(spooled)
        flush()

    def _own_file(self, name: str) -> Path:
        """A file of the run's folder; a spool from elsewhere could name any file of this machine."""
        file = (self.folder / name).resolve()
        if not file.is_relative_to(self.folder.resolve()):
            raise TrackingError(f"{self.folder / 'spool.jsonl'} names '{name}', which lies outside the run's folder.")
        return file

    def _send(self, client: MlflowClient, item: Item) -> None:
        if "picture" in item:
            with Image.open(self._own_file(item["file"])) as image:
                client.log_image(
                    self.id,
                    image.convert("RGB"),
                    key=item["picture"],
                    step=item["step"],
                    timestamp=item["time_ms"],
                    synchronous=True,
                )
        elif "artifact" in item:
            client.log_artifact(self.id, str(self._own_file(item["artifact"])))
        elif "tag" in item:
            client.set_tag(self.id, item["tag"], item["value"])
        elif "dataset" in item:
            entity = Dataset(source_type="local", schema=None, **item["dataset"])
            client.log_inputs(self.id, [DatasetInput(entity, tags=[InputTag("mlflow.data.context", item["context"])])])
        elif item.get("status") == "RUNNING":
            client.update_run(self.id, status="RUNNING")
            if REASON in client.get_run(self.id).data.tags:
                client.delete_tag(self.id, REASON)
        elif "status" in item:
            if item["reason"]:
                client.set_tag(self.id, REASON, item["reason"])
            client.set_terminated(self.id, item["status"], item["time_ms"])


class _Courier:
    """The thread that sends what waits, and shows that the run is alive."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        self._closing = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="facelab-tracking", daemon=True)
        self._monitor = SystemMetricsMonitor(run.id, tracking_uri=run.uri)
        steps = (step for kind, name, step in run.spool.known if kind == "metric" and name.startswith("system/"))
        self._monitor_step = 1 + max(steps, default=-1)
        self._next_heartbeat = self._next_monitoring = 0.0

    def start(self) -> None:
        self._thread.start()

    def finish(self, warn: Callable[[str], None]) -> None:
        """Send what is left, with some patience."""
        self._closing.set()
        said = False
        begun = time.monotonic()
        try:
            while self._thread.is_alive() and time.monotonic() - begun < _PATIENCE_S:
                self._thread.join(1.0)
                if self._error is not None and not said:
                    warn(f"Waiting for {self._run.uri}, which does not answer. Ctrl-C leaves the rest to facelab sync.")
                    said = True
        except (KeyboardInterrupt, Interrupted):
            pass
        if self._thread.is_alive():
            warn(
                f"{self._run.uri} did not take the last values of run {self._run.id}: {self._error}. They are kept in "
                f"{self._run.folder}; once the store is back, deliver them with: facelab sync"
            )

    def _work(self) -> None:
        client: MlflowClient | None = None
        while True:
            closing = self._closing.wait(_DELIVER_EVERY_S)
            try:
                self._list_packages()
                self._watch_system()
                client = client or connect(self._run.uri)
                if not closing and time.monotonic() >= self._next_heartbeat:
                    client.set_tag(self._run.id, HEARTBEAT, str(_now_ms()))
                    self._next_heartbeat = time.monotonic() + HEARTBEAT_EVERY_S
                self._run.deliver(client)
                self._error = None
                if closing:
                    return
            except Exception as error:  # whatever the store's driver raises: nothing may end this thread early
                self._error = error
                if closing:
                    time.sleep(_DELIVER_EVERY_S)

    def _list_packages(self) -> None:
        """Here, since it takes half a second that training need not wait for."""
        file = self._run.folder / "packages.txt"
        if not file.exists():
            file.write_text(environment.packages(), encoding="utf-8")
            self._run.file(file.name)

    def _watch_system(self) -> None:
        if time.monotonic() < self._next_monitoring:
            return
        self._next_monitoring = time.monotonic() + _SYSTEM_METRICS_EVERY_S
        self._monitor.collect_metrics()
        values: dict[str, Any] = self._monitor.aggregate_metrics()
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        self._run.metrics({f"system/{name}": value for name, value in values.items()}, self._monitor_step)
        self._monitor_step += 1


def _now_ms() -> int:
    return int(time.time() * 1000)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
