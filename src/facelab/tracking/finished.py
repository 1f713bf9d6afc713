"""Read a recorded run from its store alone: what is recorded about it, and its files."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import FileInfo, Run
from mlflow.exceptions import MlflowException

from facelab.errors import TrackingError
from facelab.tracking.models import FILES, logged_models
from facelab.tracking.store import Store
from facelab.tracking.sweeps import COMMIT, NAME, PARENT, reached

EVALUATES, EVALUATED_BY = "evaluates", "evaluated_by."
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class RecordedRun:
    """A run as its store has it.

    Args:
        id: of the run.
        name: on MLflow's page.
        experiment: name of its MLflow experiment.
        status: RUNNING, FINISHED, FAILED or KILLED.
        tags: its tags.
        params: its flat config, as text.
        files: names of the files at the top of its artifacts and in its logged model, with their sizes in bytes.
        model_files: place of the files of the logged model, config and weights; None for a run without one.
    """

    id: str
    name: str
    experiment: str
    status: str
    tags: Mapping[str, str] = field(repr=False)
    params: Mapping[str, str] = field(repr=False)
    files: Mapping[str, int] = field(repr=False)
    model_files: str | None = field(default=None, repr=False)

    @property
    def made_by(self) -> str:
        """The version of facelab that made it, and the commit if it is known, in words."""
        commit = self.tags.get(COMMIT, "")
        version = self.tags.get("version.facelab", "of an unknown version")
        return f"facelab {version}{f', commit {commit[:9]}' if commit else ''}"

    @property
    def is_sweep(self) -> bool:
        """Whether it is the parent run of a sweep."""
        return NAME in self.tags


def is_run_id(text: str) -> bool:
    """Whether a text can be the id of a run: 32 hexadecimal digits."""
    return _RUN_ID.fullmatch(text) is not None


def recorded_run(store: Store, run_id: str) -> RecordedRun | None:
    """Find a run of any experiment by its id; None if there is none, or it was deleted.

    Raises:
        ConfigError: the store is a file that does not exist.
        TrackingError: the store cannot be reached or read.
    """
    store.refuse_missing()
    if not is_run_id(run_id):
        return None
    with reached(store, "read") as (client, _):
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in _UNKNOWN:
                raise
            return None
        if run.info.lifecycle_stage == "deleted":
            return None
        place, of_model = _logged(client, run)
        files = {**of_model, **_sizes(client.list_artifacts(run_id))}
        experiment, info, data = client.get_experiment(run.info.experiment_id).name, run.info, run.data
    return RecordedRun(run_id, info.run_name, experiment, info.status, data.tags, data.params, files, place)


def _logged(client: MlflowClient, run: Run) -> tuple[str | None, dict[str, int]]:
    """Place of the files of a run's newest logged model, and their names and sizes; none if it was deleted."""
    for model_id in reversed(logged_models(run)):
        try:
            model = client.get_logged_model(model_id)
            return f"{model.artifact_location}/{FILES}", _sizes(client.list_logged_model_artifacts(model_id, FILES))
        except MlflowException as error:
            if error.error_code not in _UNKNOWN:
                raise
    return None, {}


def _sizes(items: Sequence[FileInfo]) -> dict[str, int]:
    return {PurePosixPath(item.path).name: int(item.file_size or 0) for item in items if not item.is_dir}


def download(store: Store, run: RecordedRun, names: Sequence[str], digests: Mapping[str, str], folder: Path) -> None:
    """Download files of a run into a folder, which is created, or completed, only once all of them are there.

    Args:
        store: the store of the run.
        run: the run.
        names: of its files.
        digests: SHA-256 of files by name, where they are known.
        folder: to create; if another process creates it first, that one stays, and one that lacks a file is completed.

    Raises:
        TrackingError: the store cannot be read, or sent less than a file or another one; nothing is kept.
        OSError: the folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        with reached(store, "read") as (client, _):
            for name in names:
                _download_one(client, run, name, digests.get(name), partial)
        with suppress(OSError):  # it is there already
            partial.rename(folder)
        if not all((folder / name).is_file() for name in names):
            for name in names:
                (partial / name).replace(folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download_one(client: MlflowClient, run: RecordedRun, name: str, digest: str | None, folder: Path) -> None:
    file = Path(_downloaded(client, run, name, folder))
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    size = file.stat().st_size
    if size != run.files[name] or (digest is not None and found != digest):
        raise TrackingError(
            f"{name} of run {run.id} is not what the run recorded: {size:,} of {run.files[name]:,} bytes came"
            f"{'' if size != run.files[name] else ', with another SHA-256'}. Nothing was kept. Repeat the command; if "
            "it fails again, the file in the store is damaged: restore it, or train the model again."
        )


def _downloaded(client: MlflowClient, run: RecordedRun, name: str, folder: Path) -> str:
    """Download a file of the run, where runs of older versions keep all, or else of its logged model."""
    if name in _sizes(client.list_artifacts(run.id)):
        return str(client.download_artifacts(run.id, name, str(folder)))
    place = f"{run.model_files}/{name}"
    return str(download_artifacts(artifact_uri=place, dst_path=str(folder), tracking_uri=client.tracking_uri))


def evaluation_tags(run: RecordedRun) -> dict[str, str]:
    """Tags that make a run an evaluation of another one, below which MLflow's page shows it."""
    return {EVALUATES: run.id, PARENT: run.id, "mlflow.source.name": "facelab evaluate"}


def tag_recorded(store: Store, run_id: str, key: str, value: str) -> None:
    """Set a tag of a run that may have no folder here.

    Raises:
        TrackingError: the store cannot be written.
    """
    with reached(store, "written") as (client, _):
        client.set_tag(run_id, key, value)
