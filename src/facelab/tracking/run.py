"""One training run in MLflow, from start to end."""

import getpass
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from numpy.typing import NDArray

from facelab.errors import TrackingError
from facelab.tracking import environment
from facelab.tracking.store import Store

Status = Literal["FINISHED", "FAILED", "KILLED"]

_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000
_DRAIN_EVERY_S = 1.0
_PATIENCE_S = 60.0
_SYSTEM_METRICS_EVERY_S = 5.0


class TrackedRun:
    """A run that is being recorded. Training hands things over and goes on; a thread sends them.

    Args:
        store: where to.
        name: the run's name on MLflow's page.
        params: what the run was asked to do; values are written as text.

    Raises:
        TrackingError: the store cannot be reached or written; no run has been made then.
    """

    def __init__(self, store: Store, name: str, params: Mapping[str, str]) -> None:
        self._client, experiment_id = store.open()
        self.uri, self.name = store.uri, name
        facts = {
            **environment.git_state(environment.code_folder()),
            **environment.hardware(),
            **environment.versions(),
            "mlflow.user": _user(),
            "mlflow.source.name": "facelab train",
            "mlflow.source.type": "LOCAL",
        }
        with self._reaching():
            self.id: str = self._client.create_run(experiment_id, tags=facts, run_name=name).info.run_id
        try:
            with self._reaching():
                pairs = [Param(key, value) for key, value in params.items()]
                for start in range(0, len(pairs), _PARAMS_PER_CALL):
                    self._client.log_batch(self.id, params=pairs[start : start + _PARAMS_PER_CALL])
                self._client.log_text(self.id, environment.packages(), "environment/packages.txt")
        except TrackingError:
            with suppress(MlflowException, OSError):  # what went wrong before is what the user should hear
                self._client.set_terminated(self.id, "FAILED")
            raise
        self._monitor = SystemMetricsMonitor(self.id, sampling_interval=_SYSTEM_METRICS_EVERY_S, tracking_uri=store.uri)
        self._monitor.start()
        self._outbox = _Outbox(self._client, self.id)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn what MLflow raises into a message that names the store."""
        try:
            yield
        except (MlflowException, OSError) as error:
            raise TrackingError(f"{self.uri} could not be written: {error}") from error

    def metrics(self, values: Mapping[str, float], images_seen: int) -> None:
        """Record values by name at a number of images seen."""
        now = int(time.time() * 1000)
        self._outbox.put([Metric(key, float(value), now, images_seen) for key, value in values.items()])

    def picture(self, key: str, image: NDArray[np.uint8], images_seen: int) -> None:
        """Record a picture, (H, W, 3) uint8, which MLflow shows on a slider over images seen."""
        self._outbox.put(_Picture(key, image, images_seen))

    def text(self, content: str, path: str) -> None:
        """Keep a text file among the run's artifacts."""
        with self._reaching():
            self._client.log_text(self.id, content, path)

    def file(self, path: str) -> None:
        """Keep a copy of a file among the run's artifacts."""
        with self._reaching():
            self._client.log_artifact(self.id, path)

    def dataset(self, name: str, fingerprint: str, source: str, profile: str, context: str) -> None:
        """Record which data were used.

        Args:
            name: of the data set.
            fingerprint: SHA-256 of its contents, in hex; MLflow shows the first 36 characters.
            source: where the data came from.
            profile: what is known of them, as JSON.
            context: what they were used for.
        """
        entity = Dataset(
            name=name, digest=fingerprint[:36], source_type="local", source=source, schema=None, profile=profile
        )
        inputs = [DatasetInput(entity, tags=[InputTag("mlflow.data.context", context)])]
        with self._reaching():
            self._client.log_inputs(self.id, inputs)

    def tag(self, key: str, value: str) -> None:
        """Set a tag."""
        with self._reaching():
            self._client.log_batch(self.id, tags=[RunTag(key, value)])

    def finish(self, status: Status, reason: str = "") -> None:
        """Send what is left and close the run.

        Args:
            status: how it ended.
            reason: why, if it did not finish; kept as the tag `reason`.

        Raises:
            TrackingError: the store has not taken the last values for a minute.
        """
        self._monitor.finish()
        self._outbox.close()
        if reason:
            self.tag("reason", reason[:5000])
        with self._reaching():
            self._client.set_terminated(self.id, status)


class _Picture:
    def __init__(self, key: str, image: NDArray[np.uint8], images_seen: int) -> None:
        self.key, self.image, self.images_seen = key, image, images_seen


class _Outbox:
    """What is to be sent, and the thread that sends it in batches; tries again after an error."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._queue: queue.SimpleQueue[list[Metric] | _Picture] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="facelab-tracking", daemon=True)
        self._thread.start()

    def put(self, item: list[Metric] | _Picture) -> None:
        self._queue.put(item)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        if self._error is not None:
            raise TrackingError(
                f"the last values of run {self._run_id} could not be sent: {self._error}. "
                "The tracking store was unreachable for a minute; the weights are kept in the run's folder."
            ) from self._error

    def _work(self) -> None:
        metrics: list[Metric] = []
        pictures: list[_Picture] = []
        last_success = time.monotonic()
        while True:
            closing = self._closing.wait(_DRAIN_EVERY_S)
            while not self._queue.empty():
                item = self._queue.get()
                if isinstance(item, _Picture):
                    pictures.append(item)
                else:
                    metrics += item
            try:
                while metrics:
                    self._client.log_batch(self._run_id, metrics=metrics[:_METRICS_PER_CALL], synchronous=True)
                    del metrics[:_METRICS_PER_CALL]
                while pictures:
                    first: Any = pictures[0]
                    self._client.log_image(
                        self._run_id, first.image, key=first.key, step=first.images_seen, synchronous=True
                    )
                    del pictures[0]
                last_success = time.monotonic()
                self._error = None
            except Exception as error:  # whatever the store's driver raises: nothing may end this thread early
                self._error = error
            if closing and (self._error is None or time.monotonic() - last_success > _PATIENCE_S):
                return


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
