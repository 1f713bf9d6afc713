"""Sweeps in MLflow: a parent run, and one child for every point of the sweep."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Run

from facelab.errors import TrackingError
from facelab.tracking.run import TrackedRun
from facelab.tracking.store import Store, readable, store_errors

PARENT = "mlflow.parentRunId"
COMMIT = "mlflow.source.git.commit"
NAME, AXES, FIXED, COMMAND, SEARCH = "sweep.name", "sweep.axes", "sweep.fixed", "sweep.command", "sweep.search"
THREADS = "sweep.threads"
POINT, TRIAL, SUPERSEDED = "sweep.point", "sweep.trial", "sweep.superseded_by"
_DESCRIPTION, _DESCRIBED_CHARACTERS = "mlflow.note.content", 5000


@dataclass(frozen=True)
class SweepRow:
    """A sweep's parent run.

    Args:
        id: of the parent run.
        name: of the sweep.
        experiment: name of its MLflow experiment.
        status: RUNNING, FINISHED, FAILED or KILLED.
        axes: swept keys with their values, as texts of the command line; of a search, each key's range as one text.
        fixed: the other overrides, sorted; what only says where and how is not among them.
        command: with which it was begun.
        search: of a search its `metric`, `direction`, `sampler` and `trials`; None of a plain sweep.
        threads: CPU threads of each job, where the sweep shares the cores out; None where the config says it.
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


@contextmanager
def reached(store: Store, done: Literal["read", "written"]) -> Iterator[tuple[MlflowClient, str]]:
    """A client of the store and the id of its experiment; what goes wrong with it in the block is a TrackingError."""
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
    """Begin a sweep's parent run; arguments as the fields of `SweepRow`.

    Raises:
        TrackingError: the store cannot be written; there is no run then.
    """
    params = {axis: ", ".join(texts) for axis, texts in axes.items()}
    tags = {
        NAME: name,
        AXES: json.dumps(axes),
        FIXED: json.dumps(fixed),
        COMMAND: command,
        **({SEARCH: json.dumps(search)} if search is not None else {}),
        **({THREADS: str(threads)} if threads is not None else {}),
    }
    return TrackedRun.create(store, name, params, runs_folder, tags)


def record_sweep(
    parent: TrackedRun, row: SweepRow, axes: Mapping[str, list[str]], command: str, search: Mapping[str, Any] | None
) -> None:
    """Say of a sweep that goes on which values it has now, besides those it had, and how it was called.

    Args:
        parent: its run.
        row: as it was.
        axes: as they are asked for now.
        command: that asks.
        search: as it is now.
    """
    whole = {axis: list(dict.fromkeys([*row.axes.get(axis, []), *texts])) for axis, texts in axes.items()}
    if whole != row.axes:
        parent.tag(AXES, json.dumps(whole))
    if command != row.command:
        parent.tag(COMMAND, command)
    if search is not None and search != row.search:
        parent.tag(SEARCH, json.dumps(search))


def child_tags(sweep_id: str, point: Mapping[str, str], trial: int | None) -> dict[str, str]:
    """Tags by which a run is a child of a sweep."""
    number = {} if trial is None else {TRIAL: str(trial)}
    return {PARENT: sweep_id, POINT: json.dumps(dict(point)), **number}


def supersede(store: Store, old: Iterable[str], new: str) -> None:
    """Say of runs that another one has taken their place; those still open are closed.

    Raises:
        TrackingError: the store cannot be written.
    """
    with reached(store, "written") as (client, _):
        for run_id in old:
            client.set_tag(run_id, SUPERSEDED, new)
            if client.get_run(run_id).info.status == "RUNNING":
                client.set_terminated(run_id, "KILLED")


def remove(store: Store, run_id: str) -> None:
    """Take a run away that never came to life.

    Raises:
        TrackingError: the store cannot be written.
    """
    with reached(store, "written") as (client, _):
        client.delete_run(run_id)


def find_sweep(store: Store, sweep: str) -> SweepRow | None:
    """A sweep by the id of its parent run, or by its name in the store's experiment; None if there is none.

    Args:
        store: where to look.
        sweep: name or run id.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    with reached(store, "read") as (client, experiment):
        quoted = f'"{sweep}"' if "'" in sweep else f"'{sweep}'"  # MLflow's filters know no escapes
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


def keep_report(store: Store, run_id: str, files: Iterable[Path], description: str) -> None:
    """Keep copies of files among a run's artifacts, and describe it on its page; what was there before is replaced.

    Args:
        store: where the run is.
        run_id: of the run.
        files: to be kept.
        description: Markdown, cut after a few thousand characters.

    Raises:
        TrackingError: the store cannot be reached or written.
    """
    with reached(store, "written") as (client, _):
        for file in files:
            client.log_artifact(run_id, str(file))
        client.set_tag(run_id, _DESCRIPTION, description[:_DESCRIBED_CHARACTERS])


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
    )
