"""Tracking stores: a local sqlite file, or a shared MLflow server."""

import logging
import os
import re
import shlex
import sqlite3
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from facelab.errors import ConfigError, TrackingError
from facelab.system import check_path, training_command
from facelab.tracking.schema import create_tables, is_half_made, refuse_other_version

# Callers retry themselves; MLflow's retries would block a thread for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # would copy a uv project of the current folder into each model

for _chatty in ("mlflow", "alembic"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)
# Errors are also raised; the logger would print the driver's traceback at every attempt.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


# Makes those versions of MLflow's page that read this tag, and not the URL, open the view for model training.
_KIND, _FOR_TRAINING = "mlflow.experimentKind", "custom_model_development"
_MISREAD = re.compile(r"\?|%[0-9A-Fa-f]{2}")  # by SQLAlchemy, in the URI of a database


def store_errors() -> tuple[type[Exception], ...]:
    """Exceptions that MLflow's client raises when a store cannot be reached, read or written."""
    from sqlalchemy.exc import SQLAlchemyError  # deferred: takes 0.2 s, and a server's client does not need it

    return MlflowException, OSError, SQLAlchemyError, sqlite3.Error


def readable(error: BaseException) -> str:
    """The database's own message, such as "database or disk is full", or else the error's first line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlite3.Error):
            return str(cause)
        cause = getattr(cause, "orig", None) or cause.__cause__ or cause.__context__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def connect(uri: str) -> MlflowClient:
    """Connect to an existing store.

    Raises:
        TrackingError: the sqlite file is missing (MLflow would silently create a new one), or another version of
            MLflow created it.
    """
    if not uri.startswith("sqlite:///"):
        return MlflowClient(uri)
    database = Path(uri.removeprefix("sqlite:///"))
    if not database.is_file():
        raise TrackingError(f"{uri} does not exist any more. Move mlflow.db back to that folder.")
    refuse_other_version(database)
    return MlflowClient(uri)


def warm_up() -> None:
    """Import the modules that the first use of a store needs, to speed up forked processes."""
    import mlflow.pyfunc
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
    """A tracking store, which records runs.

    Args:
        experiment: name of the MLflow experiment; created if it does not exist.
        register: name under which every training registers a version of its model; None for none.
    """

    def __init__(self, experiment: str, register: str | None = None) -> None:
        if not experiment.strip():
            raise ValueError("experiment must not be empty")
        if register is not None and (not register.strip(". ") or set(register) & set("/:")):
            raise ValueError(f"register must be a name without / and :, got {register!r}")
        self.experiment, self.register = experiment, register

    @property
    @abstractmethod
    def uri(self) -> str:
        """MLflow's tracking URI, absolute."""

    @abstractmethod
    def open(self) -> tuple[MlflowClient, str]:
        """Open the store, and create it and its experiment if they do not exist.

        Returns:
            A client, and the experiment's id.

        Raises:
            TrackingError: the store cannot be reached or written.
        """

    def refuse_missing(self) -> None:
        """Raise a ConfigError if the store is a file that does not exist: `open` would create it."""
        return

    @abstractmethod
    def ui_command(self, host: str, port: int) -> list[str] | None:
        """Arguments of `mlflow` that serve its page of this store; None if a server already serves it."""

    def _experiment_id(self, client: MlflowClient, artifacts: str | None) -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is not None and found.lifecycle_stage == "deleted":
            raise TrackingError(
                f"tracking.experiment: '{self.experiment}' was deleted in MLflow. Restore it there, or choose another "
                "name with tracking.experiment=<name>."
            )
        if found is None:
            return str(client.create_experiment(self.experiment, artifacts, tags={_KIND: _FOR_TRAINING}))
        if _KIND not in found.tags:  # keep a choice made on the page
            client.set_experiment_tag(found.experiment_id, _KIND, _FOR_TRAINING)
        return str(found.experiment_id)


class SqliteStore(Store):
    """A local store: `mlflow.db` and `mlartifacts/` in a folder, the default location of `mlflow ui`.

    Args:
        folder: created if it does not exist; must be on a local disk, because the write-ahead log is unsafe on network
            file systems.
        experiment: name of the MLflow experiment.
        register: name under which every training registers a version of its model; None for none.
    """

    def __init__(self, folder: str = ".", experiment: str = "facelab", register: str | None = None) -> None:
        super().__init__(experiment, register)
        self.folder = Path(folder).absolute()  # fixed now: a later chdir must not change the store
        if _MISREAD.search(str(self.folder)):
            raise ValueError(
                f"folder must be a path without `?` and without `%` before two hexadecimal digits, which MLflow reads "
                f"as another path, got {str(self.folder)!r}; choose another one with tracking.folder=<folder>"
            )

    @property
    def uri(self) -> str:
        """`sqlite:////absolute/path/mlflow.db`."""
        return f"sqlite:///{self.database}"

    @property
    def database(self) -> Path:
        """The file, absolute."""
        return self.folder / "mlflow.db"

    def open(self) -> tuple[MlflowClient, str]:
        """Create file, tables and experiment if missing, one process at a time: MLflow's first use has races."""
        database = self.database
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "mlflow.db.lock"):
                if not database.exists():
                    create_tables(database)
                connection = sqlite3.connect(database)
                # For parallel jobs: readers do not block the writer. The mode is stored in the file.
                connection.execute("PRAGMA journal_mode=WAL")
                connection.close()
                refuse_other_version(database)
                client = MlflowClient(self.uri)
                return client, self._experiment_id(client, (self.folder / "mlartifacts").as_uri())
        except store_errors() as error:
            if database.is_file() and is_half_made(database):
                raise TrackingError(
                    f"tracking.folder: {database} is half made: the command that created it was interrupted. It holds "
                    f"no runs. Delete it, and the next command creates it anew: rm {shlex.quote(str(database))}"
                ) from error
            raise TrackingError(
                f"tracking.folder: {database} cannot be used as a store ({readable(error)}). "
                "Choose a writable folder with tracking.folder=<folder>, or make room if the disk is full."
            ) from error

    def refuse_missing(self) -> None:
        """Raise a ConfigError if the file does not exist, or cannot be looked up."""
        check_path("tracking.folder", self.database)
        if not self.database.is_file():
            raise ConfigError(
                f"tracking.folder: there is no store in {self.folder}: {self.database.name} is missing. Change to the "
                "folder in which you trained, or name it with tracking.folder=<folder>. The first run makes the store: "
                f"{training_command()}"
            )

    def ui_command(self, host: str, port: int) -> list[str] | None:
        """Arguments of `mlflow ui` for this file."""
        artifacts = (self.folder / "mlartifacts").as_uri()
        place = [
            "--host",
            host,
            "--port",
            str(port),
            "--workers",
            "1",
        ]  # more workers start slower, and one user needs no more
        return ["ui", "--backend-store-uri", self.uri, "--default-artifact-root", artifacts, *place]


class ServerStore(Store):
    """A shared MLflow server.

    Args:
        uri: http:// or https:// address of the server, without user and password.
        experiment: name of the MLflow experiment.
        register: name under which every training registers a version of its model; None for none.
    """

    def __init__(self, uri: str, experiment: str = "facelab", register: str | None = None) -> None:
        super().__init__(experiment, register)
        if not _is_address(uri):
            raise ValueError(f"uri must be an http:// or https:// address, such as http://127.0.0.1:5000, got {uri!r}")
        if "@" in urlsplit(uri).netloc:
            raise ValueError(
                "uri must not hold user:password@, since every run records it; give them in the environment, as "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        self._uri = uri.rstrip("/")

    @property
    def uri(self) -> str:
        """The server's address."""
        return self._uri

    def open(self) -> tuple[MlflowClient, str]:
        """Check that the server responds, then open the experiment; MLflow's client alone would retry for minutes."""
        advice = "Start it, or correct tracking.uri, or keep runs in this folder with tracking=sqlite."
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=10).close()
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                raise TrackingError(
                    f"tracking.uri: the server at {self.uri} reports an error ({error}). {advice}"
                ) from error
        except (OSError, ValueError) as error:
            raise TrackingError(f"tracking.uri: {self.uri} does not respond ({error}). {advice}") from error
        client = MlflowClient(self.uri)
        try:
            return client, self._experiment_id(client, None)
        except MlflowException as error:
            raise TrackingError(
                f"tracking.uri: {self.uri} rejected the request ({readable(error)}). {advice}"
            ) from error

    def ui_command(self, host: str, port: int) -> list[str] | None:
        """None: the server already serves the page."""
        return None
