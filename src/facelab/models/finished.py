"""Find the folder of a finished run by its id: here, or downloaded from the store that recorded it."""

from pathlib import Path

from facelab.data.image_list import IMAGES
from facelab.errors import ConfigError, TrackingError
from facelab.models.trained import CONFIG, WEIGHTS
from facelab.system import check_path
from facelab.tracking import EVALUATES, WEIGHTS_SHA256, RecordedRun, Store, download, is_run_id, recorded_run

DOWNLOADED = "downloaded"


def find_run(run_id: str, runs_folder: Path, store: Store, key: str = "run") -> Path:
    """Folder with config, weights and, if it recorded one, the list of images of a run that has been trained.

    If `runs_folder` has no weights of the run, they are downloaded from the store into `runs_folder/downloaded/<id>`,
    once; only files are written there, and `facelab.models.trained.load` checks them before anything is built.

    Args:
        run_id: as in MLflow; 32 hexadecimal digits.
        runs_folder: where runs keep their files.
        store: where to look for a run that has no folder here.
        key: of the config that names the run, for messages.

    Raises:
        ConfigError: it is no id of a run, there is no such run, it has no weights, or its folder cannot be looked up.
        TrackingError: the store cannot be reached or read, or the download was cut.
    """
    refuse_other_ids(run_id, key)
    found = folder_here(run_id, runs_folder)
    if found is not None:
        return found
    here = runs_folder.absolute()
    try:
        run = recorded_run(store, run_id)
    except ConfigError as error:
        raise ConfigError(
            f"{key}={run_id}: there is no such run in {here} that has been trained, and no store to download it from: "
            f"{error}"
        ) from error
    if run is None:
        raise ConfigError(
            f"{key}={run_id}: there is no such run in {here}, nor in {store.uri}. `facelab runs` lists the runs of a "
            "store; choose another one with tracking.folder=<folder>, or with tracking=server tracking.uri=<address>."
        )
    return fetch(run, runs_folder / DOWNLOADED / run_id, store, key)


def folder_here(run_id: str, runs_folder: Path) -> Path | None:
    """The folder that holds config and weights of a run: its own, or one downloaded earlier; None if there is none.

    Raises:
        ConfigError: the folder of runs, or that of the run, cannot be looked up.
    """
    for folder in (runs_folder / run_id, runs_folder / DOWNLOADED / run_id):
        check_path("runs_folder", folder / WEIGHTS)
        if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file():
            return folder
    return None


def refuse_other_ids(run_id: str, key: str = "run") -> None:
    """Check that a text can be the id of a run, so that no path of a folder is taken for one.

    Args:
        run_id: as given.
        key: of the config that names the run, for messages.

    Raises:
        ConfigError: it cannot; says what to type.
    """
    if is_run_id(run_id):
        return
    name = Path(run_id).name
    instead = f"Type {key}={name}." if is_run_id(name) else "`facelab runs` lists the runs of a store."
    raise ConfigError(f"{key}={run_id}: there is no such run, since run ids are 32 hexadecimal digits. {instead}")


def fetch(run: RecordedRun, folder: Path, store: Store, key: str = "run") -> Path:
    """Download the files of a run that its weights need.

    Args:
        run: as recorded.
        folder: to create.
        store: where the run is recorded.
        key: of the config that names the run, for messages.

    Returns:
        The folder.

    Raises:
        ConfigError: the run has no weights, or the folder cannot be written.
        TrackingError: the store cannot be read, or the download was cut; nothing is kept.
    """
    lacking = [name for name in (CONFIG, WEIGHTS) if name not in run.files]
    if lacking:
        raise ConfigError(f"{key}={run.id}: {_why_without(run, lacking[-1])}")
    names = [name for name in (CONFIG, WEIGHTS, IMAGES) if name in run.files]
    digests = {WEIGHTS: run.tags[WEIGHTS_SHA256]} if WEIGHTS_SHA256 in run.tags else {}
    size = sum(run.files[name] for name in names)
    print(f"Downloading run {run.id} ({size / 2**20:,.2f} MiB) from {store.uri} to {folder.absolute()}", flush=True)
    try:
        download(store, run, names, digests, folder)
    except TrackingError as error:
        raise TrackingError(f"{key}={run.id}: {error}") from error
    except OSError as error:
        raise ConfigError(
            f"{key}={run.id}: {folder.absolute()} cannot be written ({error.strerror or error}). Make room, or choose "
            "another folder for runs."
        ) from error
    return folder


def _why_without(run: RecordedRun, name: str) -> str:
    """Why a run has no weights, and what to do."""
    if EVALUATES in run.tags:
        return f"it is an evaluation and has no weights of its own. Give the run it evaluates: {run.tags[EVALUATES]}."
    if run.is_sweep:
        return "it is the parent run of a sweep. Give one of the sweep's runs; `facelab best sweep=...` names the best."
    if run.status == "FINISHED":
        return (
            f"it has finished, but its store has no {name}. It was made by {run.made_by}; train the model again, or "
            "name the folder that holds the run's files."
        )
    return (
        f"it is {run.status} and has no {name} yet. Resume it where it was started, with resume={run.id}, or choose a "
        "finished run."
    )
