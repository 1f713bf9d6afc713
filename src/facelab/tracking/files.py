"""Read images and files of recorded runs from their store."""

import functools
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient

from facelab.errors import TrackingError
from facelab.tracking.store import Store, readable, store_errors

_MOST_BYTES = 32_000_000  # of a text file


class RunFiles:
    """Images and files of runs. The store is opened once, with the first run.

    Args:
        store: of the runs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listed: dict[str, dict[str, int]] = {}

    def images(self, run_id: str, keys: Iterable[str]) -> dict[str, bytes]:
        """The newest image a run has recorded under each key, as PNG; keys without images are omitted.

        Raises:
            TrackingError: the store cannot be reached or read.
        """
        found: dict[str, bytes] = {}
        with self._reading() as client, tempfile.TemporaryDirectory() as folder:
            paths = [item.path for item in client.list_artifacts(run_id, "images") if item.path.endswith(".png")]
            for key in keys:
                own = [path for path in paths if path.startswith(f"images/{key}+step+")]
                if own:
                    newest = max(own, key=lambda path: [int(word) for word in path.split("+")[2:5:2]])
                    found[key] = Path(client.download_artifacts(run_id, newest, folder)).read_bytes()
        return found

    def text(self, run_id: str, file: str) -> str:
        """A text file at the top of a run's artifacts; empty if there is none, or if it is larger than 32 MB.

        Raises:
            TrackingError: the store cannot be reached or read.
        """
        with self._reading() as client, tempfile.TemporaryDirectory() as folder:
            if not 0 < self._sizes(run_id).get(file, 0) <= _MOST_BYTES:
                return ""
            return Path(client.download_artifacts(run_id, file, folder)).read_text(encoding="utf-8")

    @functools.cached_property
    def _client(self) -> MlflowClient:
        return self._store.open()[0]

    def _sizes(self, run_id: str) -> dict[str, int]:
        """Sizes in bytes of the files at the top of a run's artifacts."""
        if run_id not in self._listed:
            items = self._client.list_artifacts(run_id)
            self._listed[run_id] = {item.path: int(item.file_size or 0) for item in items}
        return self._listed[run_id]

    @contextmanager
    def _reading(self) -> Iterator[MlflowClient]:
        client = self._client
        try:
            yield client
        except store_errors() as error:
            raise TrackingError(f"{self._store.uri} could not be read: {readable(error)}.") from error
