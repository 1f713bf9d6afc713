"""Where runs are kept: a sqlite file at home, a server for a team."""

import logging
import os
import sqlite3
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from facelab.errors import TrackingError
from facelab.tracking.schema import refuse_other_version

# Whoever waits for the store tries again himself; MLflow would hold a thread for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

for _chatty in ("mlflow", "alembic"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)
# Errors come out as exceptions too; the logger would print the driver's traceback at every attempt.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


# Versions of MLflow's page that ask the experiment, and not the address, show what belongs to training.
_KIND, _FOR_TRAINING = "mlflow.experimentKind", "custom_model_development"


def store_errors() -> tuple[type[Exception], ...]:
    """What MLflow's client raises when a store cannot be reached, read or written."""
    from sqlalchemy.exc import SQLAlchemyError  # late: a fifth of a second, which a server's client need not wait for

    return MlflowException, OSError, SQLAlchemyError, sqlite3.Error


def readable(error: BaseException) -> str:
    """What the database itself said, such as "database or disk is full"; else the error's first line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlite3.Error):
            return str(cause)
        cause = getattr(cause, "orig", None) or cause.__cause__ or cause.__context__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def connect(uri: str) -> MlflowClient:
    """A client for a store that is there already.

    Raises:
        TrackingError: the sqlite file is gone (MLflow would make a new one without a word), or another version of
            MLflow made it.
    """
    if not uri.startswith("sqlite:///"):
        return MlflowClient(uri)
    database = Path(uri.removeprefix("sqlite:///"))
    if not database.is_file():
        raise TrackingError(f"{uri} is not there any more.")
    refuse_other_version(database)
    return MlflowClient(uri)


def warm_up() -> None:
    """Import what a first call to a store would, so that the processes forked from this one need not."""
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    from alembic import command, script  # noqa: F401
    from mlflow.store.db import utils  # noqa: F401
    from sqlalchemy.orm import configure_mappers

    configure_mappers()


def _is_address(uri: str) -> bool:
    """Whether it has a scheme, a host, and a port that is a number, if any."""
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not set(uri) & set(' \t\n"<>\\')


class Store(ABC):
    """A place for runs.

    Args:
        experiment: name of the MLflow experiment; made if it does not exist.
    """

    def __init__(self, experiment: str) -> None:
        if not experiment.strip():
            raise ValueError("experiment must not be empty")
        self.experiment = experiment

    @property
    @abstractmethod
    def uri(self) -> str:
        """MLflow's tracking URI, absolute."""

    @abstractmethod
    def open(self) -> tuple[MlflowClient, str]:
        """Make ready what is missing.

        Returns:
            A client, and the experiment's id.

        Raises:
            TrackingError: the store cannot be reached or written.
        """

    @abstractmethod
    def ui_command(self, host: str, port: int) -> list[str] | None:
        """Arguments of `mlflow` that serve its page on this store; None where a server does already."""

    def _experiment_id(self, client: MlflowClient, artifacts: str | None) -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is not None and found.lifecycle_stage == "deleted":
            raise TrackingError(
                f"tracking.experiment: '{self.experiment}' was deleted in MLflow. Restore it there, or choose another "
                "name with tracking.experiment=<name>."
            )
        if found is None:
            return str(client.create_experiment(self.experiment, artifacts, tags={_KIND: _FOR_TRAINING}))
        if _KIND not in found.tags:  # whoever chose another one on the page keeps it
            client.set_experiment_tag(found.experiment_id, _KIND, _FOR_TRAINING)
        return str(found.experiment_id)


class SqliteStore(Store):
    """`mlflow.db` and `mlartifacts/` in a folder: where a bare `mlflow ui` looks too.

    Args:
        folder: made if it does not exist; on a local disk, since the write-ahead log is unsafe on network file systems.
        experiment: name of the MLflow experiment.
    """

    def __init__(self, folder: str = ".", experiment: str = "facelab") -> None:
        super().__init__(experiment)
        self.folder = Path(folder).absolute()  # once, at the start: nobody may end up in another folder's store

    @property
    def uri(self) -> str:
        """`sqlite:////absolute/path/mlflow.db`."""
        return f"sqlite:///{self.database}"

    @property
    def database(self) -> Path:
        """The file, absolute."""
        return self.folder / "mlflow.db"

    def open(self) -> tuple[MlflowClient, str]:
        """Make file, tables and experiment, one process at a time: MLflow's own first use races."""
        database = self.database
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "mlflow.db.lock"):
                connection = sqlite3.connect(database)
                # Readers and one writer at once, for parallel jobs; the mode stays with the file.
                connection.execute("PRAGMA journal_mode=WAL")
                connection.close()
                refuse_other_version(database)
                client = MlflowClient(self.uri)
                return client, self._experiment_id(client, (self.folder / "mlartifacts").as_uri())
        except store_errors() as error:
            raise TrackingError(
                f"tracking.folder: {database} cannot be used as a store ({readable(error)}). "
                "Choose a writable folder with tracking.folder=<folder>, or make room if the disk is full."
            ) from error

    def ui_command(self, host: str, port: int) -> list[str] | None:
        """`mlflow ui` on this file."""
        artifacts = (self.folder / "mlartifacts").as_uri()
        place = ["--host", host, "--port", str(port), "--workers", "1"]  # one person looks: more only start slower
        return ["ui", "--backend-store-uri", self.uri, "--default-artifact-root", artifacts, *place]


class ServerStore(Store):
    """A shared MLflow server.

    Args:
        uri: http:// or https:// address of the server.
        experiment: name of the MLflow experiment.
    """

    def __init__(self, uri: str, experiment: str = "facelab") -> None:
        super().__init__(experiment)
        if not _is_address(uri):
            raise ValueError(f"uri must be an http:// or https:// address, such as http://127.0.0.1:5000, got {uri!r}")
        self._uri = uri.rstrip("/")

    @property
    def uri(self) -> str:
        """The server's address."""
        return self._uri

    def open(self) -> tuple[MlflowClient, str]:
        """Ask the server whether it is there before MLflow's client does, which would try for minutes."""
        advice = "Start it, or correct tracking.uri, or keep runs in this folder with tracking=sqlite."
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=10).close()
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                raise TrackingError(
                    f"tracking.uri: the server at {self.uri} is in trouble ({error}). {advice}"
                ) from error
        except (OSError, ValueError) as error:
            raise TrackingError(f"tracking.uri: no answer from {self.uri} ({error}). {advice}") from error
        client = MlflowClient(self.uri)
        try:
            return client, self._experiment_id(client, None)
        except MlflowException as error:
            raise TrackingError(f"tracking.uri: {self.uri} refused ({readable(error)}). {advice}") from error

    def ui_command(self, host: str, port: int) -> list[str] | None:
        """None: the server has the page."""
        return None
