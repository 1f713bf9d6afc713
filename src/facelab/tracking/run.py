"""Create, open and record a run in MLflow."""

import getpass
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Param

from facelab.errors import RunInUseError, TrackingError
from facelab.tracking import environment
from facelab.tracking.delivery import HEARTBEAT, REASON, Courier, deleted_message, deliver, now_ms, was_deleted
from facelab.tracking.models import ModelRecord
from facelab.tracking.note import CHARACTERS, DESCRIPTION, RunPage
from facelab.tracking.spool import Spool
from facelab.tracking.store import Store, connect, readable, store_errors

__all__ = [
    "COMMAND",
    "CONFIG_HASH",
    "HEARTBEAT",
    "INIT_FROM_SHA256",
    "METRICS",
    "NEEDS",
    "REASON",
    "SPLIT_FINGERPRINT",
    "TOTAL_IMAGES",
    "Status",
    "TrackedRun",
]

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

COMMAND = "command"
CONFIG_HASH = "config.hash"
INIT_FROM_SHA256 = "model.init_from.sha256"
METRICS = "metrics.declared"
NEEDS = "needs."
SPLIT_FINGERPRINT = "data.split_fingerprint"
TOTAL_IMAGES = "total_images"
_PARAMS_PER_CALL = 100


class TrackedRun:
    """A run in MLflow. Records go to its spool on disk first, and from there to the store.

    Any process may add records; within `delivering`, a thread sends them. Created by `create`, `open` or `adopt`.

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
        """Create a run in the store and its folder.

        Args:
            store: records the run.
            name: the run's name on MLflow's page.
            params: the run's parameters, as text.
            runs_folder: where to create a folder named by the run's id.
            tags: in addition to those on code, packages and hardware.

        Raises:
            TrackingError: the store cannot be reached or written; no run is created.
        """
        client, experiment_id = store.open()
        all_tags = {
            **environment.git_state(),
            **environment.hardware(),
            **environment.versions(),
            "mlflow.user": _user(),
            "mlflow.source.name": "facelab train",
            "mlflow.source.type": "LOCAL",
            HEARTBEAT: str(now_ms()),
            **(tags or {}),
        }
        try:
            run_id: str = client.create_run(experiment_id, tags=all_tags, run_name=name).info.run_id
            try:
                pairs = [Param(key, value) for key, value in params.items()]
                for start in range(0, len(pairs), _PARAMS_PER_CALL):
                    client.log_batch(run_id, params=pairs[start : start + _PARAMS_PER_CALL])
            except store_errors():
                with suppress(*store_errors()):  # report the first error
                    client.set_terminated(run_id, "FAILED")
                raise
        except store_errors() as error:
            raise TrackingError(f"{store.uri} could not be written: {readable(error)}.") from error
        return cls._made(store.uri, run_id, experiment_id, name, runs_folder)

    @classmethod
    def open(cls, folder: Path) -> "TrackedRun":
        """Open an existing run by its folder.

        Raises:
            TrackingError: the folder is not that of a run.
        """
        header = next((item for item in Spool(folder).items() if "run" in item), None) if folder.is_dir() else None
        if header is None:
            raise TrackingError(f"{folder} is not the folder of a run.")
        return cls(folder.absolute(), header["uri"], header["name"])

    @classmethod
    def adopt(cls, store: Store, run_id: str, name: str, runs_folder: Path) -> "TrackedRun":
        """Create a folder for a run that exists only in the store."""
        return cls._made(store.uri, run_id, store.open()[1], name, runs_folder)

    @classmethod
    def _made(cls, uri: str, run_id: str, experiment_id: str, name: str, runs_folder: Path) -> "TrackedRun":
        folder = (runs_folder / run_id).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder, uri, name)
        run.spool.add({"run": run_id, "uri": uri, "name": name, "experiment": experiment_id})
        return run

    @property
    def page(self) -> RunPage:
        """Addresses on its page in MLflow."""
        header = next(item for item in self.spool.items() if "run" in item)
        return RunPage(self.id, header.get("experiment", ""))  # older versions did not record it

    @property
    def ended(self) -> Status | None:
        """Final status recorded in the run's folder; None if the run has not ended."""
        statuses = [item["status"] for item in self.spool.items() if "status" in item]
        return statuses[-1] if statuses and statuses[-1] != "RUNNING" else None

    def settle(self) -> bool:
        """Try to deliver waiting records, unless another process does; returns whether all are delivered."""
        with suppress(TrackingError, *store_errors()), self.alone():
            self.deliver(connect(self.uri))
        return not self.spool.waiting()

    def recorded_tag(self, key: str) -> str | None:
        """Value of a tag recorded earlier, the last one if it was changed; None if there is none."""
        values = [str(item["value"]) for item in self.spool.items() if item.get("tag") == key]
        return values[-1] if values else None

    def needs(self) -> dict[str, str]:
        """Ids of the runs that this run depends on, by role."""
        tags = {str(item["tag"]): str(item["value"]) for item in self.spool.items() if "tag" in item}
        return {key.removeprefix(NEEDS): tags[key] for key in tags if re.fullmatch(rf"{re.escape(NEEDS)}\w+", key)}

    def metrics(self, values: Mapping[str, float], images_seen: int) -> None:
        """Record values by name at a number of images seen; values recorded earlier are not overwritten."""
        self.spool.metrics(values, images_seen, now_ms())

    def image(self, key: str, file: str, images_seen: int) -> None:
        """Record a PNG file of the run's folder; MLflow shows it on a slider over images seen."""
        self.spool.picture(key, file, images_seen, now_ms())

    def file(self, file: str, folder: str | None = None) -> None:
        """Record a file of the run's folder as an artifact, in a folder of the artifacts if one is given."""
        self.spool.add({"artifact": file, **({"folder": folder} if folder else {})})

    def model(self, record: ModelRecord) -> None:
        """Record a trained model, whose config and weights lie in the run's folder; a second time changes nothing."""
        self.spool.model(record.as_item(), record.sha256)

    def tag(self, key: str, value: str) -> None:
        """Set a tag."""
        self.spool.add({"tag": key, "value": value})

    def describe(self, text: str) -> None:
        """Replace the description, in Markdown, on the run's page in MLflow."""
        self.tag(DESCRIPTION, text[:CHARACTERS])

    def tag_now(self, key: str, value: str) -> None:
        """Set a tag of a run that has ended; if the store is unreachable, `facelab sync` delivers it later."""
        self.tag(key, value)
        self.settle()

    def dataset(self, name: str, fingerprint: str, source: str, profile: str, context: str) -> None:
        """Record the data set of the run.

        Args:
            name: of the data set.
            fingerprint: SHA-256 of its contents, in hex; MLflow shows the first 36 characters.
            source: where the data came from.
            profile: statistics of the data, as JSON.
            context: purpose of the data, such as training.
        """
        dataset = {"name": name, "digest": fingerprint[:36], "source": source, "profile": profile}
        self.spool.add({"dataset": dataset, "context": context})

    def status(self, status: Status, reason: str = "") -> None:
        """Record the status of the run.

        Args:
            status: as on MLflow's page.
            reason: why the run did not finish; recorded as the tag `reason`.
        """
        self.spool.add({"status": status, "reason": reason[:5000], "time_ms": now_ms()})

    @contextmanager
    def delivering(
        self, warn: Callable[[str], None], when_deleted: Callable[[], None] = lambda: None
    ) -> Iterator[Courier]:
        """Deliver records within the block, with a heartbeat and system metrics.

        Args:
            warn: called at the end if records could not be delivered.
            when_deleted: called, from another thread, if the run is deleted in MLflow.

        Raises:
            RunInUseError: another process trains this run.
        """
        with self.alone():
            courier = Courier(self.id, self.uri, self.spool, when_deleted)
            courier.start()
            try:
                yield courier
            finally:
                courier.finish(warn)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the run's lock within the block.

        Raises:
            RunInUseError: another process holds it.
        """
        lock = FileLock(self.folder / "alive.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise RunInUseError(f"run {self.id} is being trained by another process.") from error
        try:
            yield
        finally:
            lock.release()

    def deliver(self, client: MlflowClient) -> None:
        """Send all waiting records to the store, oldest first.

        Raises:
            TrackingError: the run was deleted in MLflow.
            MlflowException, OSError, SQLAlchemyError: the store rejected a record; records delivered before are not
                sent again.
        """
        try:
            deliver(self.id, self.spool, client)
        except store_errors() as error:
            if was_deleted(self.id, client):
                raise TrackingError(deleted_message(self.id, self.folder)) from error
            raise


def picture_file(folder: Path, name: str) -> Path | None:
    """A run's image of that name in its folder, or the last one in a subfolder of that name; None without either."""
    single = folder / f"{name}.png"
    found = [single] if single.is_file() else sorted((folder / name).glob("*.png"))
    return found[-1] if found else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
