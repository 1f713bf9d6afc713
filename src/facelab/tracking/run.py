"""One training run in MLflow, from start to end."""

import getpass
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Param

from facelab.errors import TrackingError
from facelab.tracking import environment
from facelab.tracking.delivery import HEARTBEAT, REASON, Courier, deleted_message, deliver, now_ms, was_deleted
from facelab.tracking.spool import Spool
from facelab.tracking.store import Store, connect, readable, store_errors

__all__ = ["CONFIG_HASH", "HEARTBEAT", "METRICS", "NEEDS", "REASON", "TOTAL_IMAGES", "Status", "TrackedRun"]

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

CONFIG_HASH = "config.hash"
METRICS = "metrics.declared"
NEEDS = "needs."
TOTAL_IMAGES = "total_images"
_PARAMS_PER_CALL = 100
_DESCRIPTION, _DESCRIBED_CHARACTERS = "mlflow.note.content", 5000


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
            HEARTBEAT: str(now_ms()),
            **(tags or {}),
        }
        try:
            run_id: str = client.create_run(experiment_id, tags=facts, run_name=name).info.run_id
            try:
                pairs = [Param(key, value) for key, value in params.items()]
                for start in range(0, len(pairs), _PARAMS_PER_CALL):
                    client.log_batch(run_id, params=pairs[start : start + _PARAMS_PER_CALL])
            except store_errors():
                with suppress(*store_errors()):  # what went wrong before is what the user should hear
                    client.set_terminated(run_id, "FAILED")
                raise
        except store_errors() as error:
            raise TrackingError(f"{store.uri} could not be written: {readable(error)}.") from error
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
        with suppress(TrackingError, *store_errors()), self.alone():
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
        self.spool.metrics(values, images_seen, now_ms())

    def image(self, key: str, file: str, images_seen: int) -> None:
        """Record a PNG file of the run's folder, which MLflow shows on a slider over images seen."""
        self.spool.picture(key, file, images_seen, now_ms())

    def file(self, file: str) -> None:
        """Keep a copy of a file of the run's folder among its artifacts."""
        self.spool.add({"artifact": file})

    def tag(self, key: str, value: str) -> None:
        """Set a tag."""
        self.spool.add({"tag": key, "value": value})

    def describe(self, text: str) -> None:
        """Show a text, as Markdown, on the run's page in MLflow, in place of the one before."""
        self.tag(_DESCRIPTION, text[:_DESCRIBED_CHARACTERS])

    @property
    def first_description(self) -> str:
        """What the run was described by when it began; empty if it was not."""
        return self.recorded_tag(_DESCRIPTION) or ""

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
        self.spool.add({"status": status, "reason": reason[:5000], "time_ms": now_ms()})

    @contextmanager
    def delivering(
        self, warn: Callable[[str], None], when_deleted: Callable[[], None] = lambda: None
    ) -> Iterator[Courier]:
        """Within the block the run is alive: what is recorded is sent, with a heartbeat and system metrics.

        Args:
            warn: told at the end if the store did not take everything.
            when_deleted: called, from another thread, when somebody has deleted the run in MLflow.

        Raises:
            TrackingError: another process does the same.
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
            TrackingError: the run was deleted in MLflow.
            MlflowException, OSError, SQLAlchemyError: the store did not take it; what it took is not sent again.
        """
        try:
            deliver(self.id, self.spool, client)
        except store_errors() as error:
            if was_deleted(self.id, client):
                raise TrackingError(deleted_message(self.id, self.folder)) from error
            raise


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
