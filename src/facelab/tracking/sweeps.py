"""Sweeps in MLflow: a parent run with one child for each point."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Run

from facelab.errors import ConfigError, TrackingError
from facelab.tracking.note import (
    CHARACTERS,
    DESCRIPTION,
    RunPage,
    command_block,
    plain,
    within_limit,
    without_passwords,
)
from facelab.tracking.run import TrackedRun
from facelab.tracking.store import Store, readable, store_errors

PARENT = "mlflow.parentRunId"
COMMIT = "mlflow.source.git.commit"
NAME, AXES, FIXED, COMMAND, SEARCH = "sweep.name", "sweep.axes", "sweep.fixed", "sweep.command", "sweep.search"
THREADS, REGISTRATION = "sweep.threads", "sweep.registration_sha256"
POINT, TRIAL, SUPERSEDED = "sweep.point", "sweep.trial", "sweep.superseded_by"
_TAG_CHARACTERS = 8000  # MLflow's client cuts longer values


@dataclass(frozen=True)
class SweepRow:
    """A sweep's parent run.

    Args:
        id: of the parent run.
        name: of the sweep.
        experiment: name of its MLflow experiment.
        status: RUNNING, FINISHED, FAILED or KILLED.
        axes: values of each swept key, as text of the command line; for a search, each key's range as one text.
        fixed: the other overrides that change results, sorted.
        command: that started it.
        search: `metric`, `direction`, `sampler` and `trials` of a search; None for a plain sweep.
        threads: CPU threads of each job, if the sweep divides the cores; None if the config sets them.
        registration: SHA-256 of the files of its study; None if it is of no study.
    """

    id: str
    name: str
    experiment: str
    status: str
    axes: Mapping[str, list[str]]
    fixed: list[str]
    command: str
    search: Mapping[str, Any] | None
    threads: int | None
    registration: str | None = None


@contextmanager
def reached(store: Store, done: Literal["read", "written"]) -> Iterator[tuple[MlflowClient, str]]:
    """Open a store; errors of its client within the block become a TrackingError.

    Yields:
        A client, and the id of the store's experiment.
    """
    opened = store.open()
    try:
        yield opened
    except store_errors() as error:
        raise TrackingError(f"{store.uri} could not be {done}: {readable(error)}.") from error


def begin_sweep(
    store: Store,
    name: str,
    axes: Mapping[str, list[str]],
    fixed: list[str],
    command: str,
    search: Mapping[str, Any] | None,
    threads: int | None,
    runs_folder: Path,
) -> TrackedRun:
    """Create a sweep's parent run. Arguments are as the fields of `SweepRow`.

    Raises:
        ConfigError: there are too many values for a tag.
        TrackingError: the store cannot be written; no run is created.
    """
    params = {axis: ", ".join(texts) for axis, texts in axes.items()}
    command = without_passwords(command)
    opening = (
        f"{'Sweep' if search is None else 'Search'} over {plain(', '.join(axes))}. Its answer appears here at its end."
    )
    tags = {
        DESCRIPTION: within_limit([opening], [f"Make it again:\n\n{command_block(command)}"], []),
        NAME: name,
        AXES: _as_tag(axes),
        FIXED: json.dumps(fixed),
        COMMAND: command,
        **({SEARCH: json.dumps(search)} if search is not None else {}),
        **({THREADS: str(threads)} if threads is not None else {}),
    }
    return TrackedRun.create(store, name, params, runs_folder, tags)


def record_registration(store: Store, sweep_id: str, files: Sequence[Path], digest: str) -> None:
    """Keep what a study has fixed before its first run: its files among the artifacts, and their SHA-256.

    Raises:
        TrackingError: the store cannot be written.
    """
    with reached(store, "written") as (client, _):
        for file in files:
            client.log_artifact(sweep_id, str(file), "registration")
        client.set_tag(sweep_id, REGISTRATION, digest)


def record_sweep(
    parent: TrackedRun, row: SweepRow, axes: Mapping[str, list[str]], command: str, search: Mapping[str, Any] | None
) -> None:
    """Record new values, command and search settings of a resumed sweep; earlier values are kept.

    Args:
        parent: its parent run.
        row: the sweep as recorded.
        axes: of the current command.
        command: the current command.
        search: of the current command.

    Raises:
        ConfigError: there are too many values for a tag; nothing is recorded.
    """
    whole = {axis: list(dict.fromkeys([*row.axes.get(axis, []), *texts])) for axis, texts in axes.items()}
    if whole != row.axes:
        parent.tag(AXES, _as_tag(whole))
    command = without_passwords(command)
    if command != row.command:
        parent.tag(COMMAND, command)
    if search is not None and search != row.search:
        parent.tag(SEARCH, json.dumps(search))


def _as_tag(axes: Mapping[str, list[str]]) -> str:
    text = json.dumps(axes)
    if len(text) > _TAG_CHARACTERS:
        count = sum(len(texts) for texts in axes.values())
        raise ConfigError(
            f"sweep: the {count:,} values of {', '.join(axes)} take {len(text):,} characters, and MLflow keeps "
            f"{_TAG_CHARACTERS:,} of a tag. Divide them among several sweeps, each with a name of its own: "
            "sweep.name=<name>."
        )
    return text


def child_tags(sweep_id: str, point: Mapping[str, str], trial: int | None) -> dict[str, str]:
    """Tags that make a run a child of a sweep."""
    number = {} if trial is None else {TRIAL: str(trial)}
    return {PARENT: sweep_id, POINT: json.dumps(dict(point)), **number}


def supersede(store: Store, old: Iterable[str], new: str) -> None:
    """Mark runs as replaced by another run, and close those still running.

    Raises:
        TrackingError: the store cannot be written.
    """
    with reached(store, "written") as (client, _):
        for run_id in old:
            client.set_tag(run_id, SUPERSEDED, new)
            if client.get_run(run_id).info.status == "RUNNING":
                client.set_terminated(run_id, "KILLED")


def remove(store: Store, run_id: str) -> None:
    """Delete a run that was never started.

    Raises:
        TrackingError: the store cannot be written.
    """
    with reached(store, "written") as (client, _):
        client.delete_run(run_id)


def find_sweep(store: Store, sweep: str) -> SweepRow | None:
    """Find a sweep by its name in the store's experiment, or by the id of its parent run; None if there is none.

    Args:
        store: the store to search.
        sweep: name or run id.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    with reached(store, "read") as (client, experiment):
        quoted = f'"{sweep}"' if "'" in sweep else f"'{sweep}'"  # MLflow's filters have no escapes
        order = ["attributes.start_time DESC"]
        found = list(client.search_runs([experiment], f"tags.`{NAME}` = {quoted}", max_results=1, order_by=order))
        if not found:
            everywhere = [e.experiment_id for e in client.search_experiments()]
            chosen = f"attributes.run_id = {quoted}"
            found = [run for run in client.search_runs(everywhere, chosen, max_results=1) if NAME in run.data.tags]
        return _sweep_row(client, found[0]) if found else None


def sweep_names(store: Store, limit: int = 20) -> list[str]:
    """Names of the newest sweeps in the store's experiment.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    with reached(store, "read") as (client, experiment):
        found = client.search_runs(
            [experiment], f"tags.`{NAME}` LIKE '%'", max_results=limit, order_by=["attributes.start_time DESC"]
        )
    return [run.data.tags[NAME] for run in found]


def run_page(store: Store, run_id: str) -> RunPage:
    """Addresses of a run on MLflow's page.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    with reached(store, "read") as (client, _):
        return RunPage(run_id, client.get_run(run_id).info.experiment_id)


def keep_report(
    store: Store, run_id: str, files: Iterable[Path], pictures: Mapping[str, str], description: str
) -> None:
    """Record files as a run's artifacts and set its description, replacing earlier ones.

    Args:
        store: the store of the run.
        run_id: of the run.
        files: files to copy.
        pictures: SVG by file name, for the folder `pictures` of the artifacts.
        description: Markdown, cut after a few thousand characters.

    Raises:
        TrackingError: the store cannot be reached or written.
    """
    with reached(store, "written") as (client, _):
        for file in files:
            client.log_artifact(run_id, str(file))
        for name, svg in pictures.items():
            client.log_text(run_id, svg, f"pictures/{name}")
        client.set_tag(run_id, DESCRIPTION, description[:CHARACTERS])


def _sweep_row(client: MlflowClient, run: Run) -> SweepRow:
    tags = run.data.tags
    return SweepRow(
        id=run.info.run_id,
        name=tags[NAME],
        experiment=client.get_experiment(run.info.experiment_id).name,
        status=run.info.status,
        axes=json.loads(tags[AXES]),
        fixed=json.loads(tags[FIXED]),
        command=tags[COMMAND],
        search=json.loads(tags[SEARCH]) if SEARCH in tags else None,
        threads=int(tags[THREADS]) if THREADS in tags else None,
        registration=tags.get(REGISTRATION),
    )
