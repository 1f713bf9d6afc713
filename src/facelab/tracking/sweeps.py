"""Sweeps in MLflow: a parent run, and one child for every point of the sweep."""

import dataclasses
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from facelab.errors import TrackingError
from facelab.metrics.declaration import Metric, from_text
from facelab.tracking.run import CONFIG_HASH, HEARTBEAT, METRICS, REASON, TrackedRun
from facelab.tracking.store import Store

PARENT = "mlflow.parentRunId"
COMMIT = "mlflow.source.git.commit"
NAME, AXES, FIXED, COMMAND, SEARCH = "sweep.name", "sweep.axes", "sweep.fixed", "sweep.command", "sweep.search"
THREADS = "sweep.threads"
POINT, TRIAL, SUPERSEDED = "sweep.point", "sweep.trial", "sweep.superseded_by"
_DESCRIPTION, _DESCRIBED_CHARACTERS = "mlflow.note.content", 5000
_PAGE = 1000


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


@dataclass(frozen=True)
class ChildRow:
    """A run as a comparison sees it; of a sweep, or any other.

    Args:
        id: of the run.
        name: on MLflow's page.
        status: RUNNING, FINISHED, FAILED or KILLED.
        reason: why it did not finish.
        point: its value on every axis of the sweep, as texts of the command line; empty of a run outside a sweep.
        trial: its number in a search.
        config_hash: of its config.
        commit: the code it ran on; empty outside git.
        superseded_by: id of the run that replaced it, or empty.
        alive_s: seconds since 1970 of its last sign of life.
        seconds: from start to end, or till now.
        metrics: last values by name.
        declared: what its metrics are, by name.
        params: its config, flat, as texts; empty where the children of a sweep are read.
    """

    id: str
    name: str
    status: str
    reason: str
    point: Mapping[str, str]
    trial: int | None
    config_hash: str
    commit: str
    superseded_by: str
    alive_s: float
    seconds: float
    metrics: Mapping[str, float] = field(repr=False)
    declared: Mapping[str, Metric] = field(repr=False)
    params: Mapping[str, str] = field(repr=False)


@contextmanager
def _reached(store: Store, done: Literal["read", "written"]) -> Iterator[tuple[MlflowClient, str]]:
    """A client of the store and the id of its experiment; what goes wrong with it in the block is a TrackingError."""
    opened = store.open()
    try:
        yield opened
    except (MlflowException, OSError) as error:
        raise TrackingError(f"{store.uri} could not be {done}: {error}") from error


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
    with _reached(store, "written") as (client, _):
        for run_id in old:
            client.set_tag(run_id, SUPERSEDED, new)
            if client.get_run(run_id).info.status == "RUNNING":
                client.set_terminated(run_id, "KILLED")


def remove(store: Store, run_id: str) -> None:
    """Take a run away that never came to life.

    Raises:
        TrackingError: the store cannot be written.
    """
    with _reached(store, "written") as (client, _):
        client.delete_run(run_id)


def find_sweep(store: Store, sweep: str) -> SweepRow | None:
    """A sweep by the id of its parent run, or by its name in the store's experiment; None if there is none.

    Args:
        store: where to look.
        sweep: name or run id.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    with _reached(store, "read") as (client, experiment):
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
    with _reached(store, "read") as (client, experiment):
        found = client.search_runs(
            [experiment], f"tags.`{NAME}` LIKE '%'", max_results=limit, order_by=["attributes.start_time DESC"]
        )
    return [run.data.tags[NAME] for run in found]


def children(store: Store, sweep_id: str) -> list[ChildRow]:
    """All runs of a sweep, the oldest first, with those that were replaced.

    Args:
        store: where to look.
        sweep_id: of the parent run.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    with _reached(store, "read") as (client, _):
        database = _database(client)
        if database is not None:
            return _read_children(database, sweep_id)
        experiment = client.get_run(sweep_id).info.experiment_id
        found, token = [], None
        while True:
            page = client.search_runs(
                [experiment],
                f"tags.`{PARENT}` = '{sweep_id}'",
                max_results=_PAGE,
                page_token=token,
                order_by=["attributes.start_time ASC"],
            )
            found += [dataclasses.replace(_child_row(run), params={}) for run in page]
            token = page.token
            if not token:
                return found


def runs_by_id(store: Store, ids: Iterable[str]) -> list[ChildRow | None]:
    """Runs by their ids, None for each that there is not.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    client, _ = store.open()
    rows: list[ChildRow | None] = []
    for run_id in ids:
        try:
            rows.append(_child_row(client.get_run(run_id)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise TrackingError(f"{store.uri} could not be read: {error}") from error
            rows.append(None)
        except OSError as error:
            raise TrackingError(f"{store.uri} could not be read: {error}") from error
    return rows


def histories(store: Store, ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
    """Points (images seen, value) of a metric, in order, for each run that has any.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    client, _ = store.open()

    def one(run_id: str) -> tuple[str, list[tuple[int, float]]]:
        return run_id, sorted((point.step, point.value) for point in client.get_metric_history(run_id, metric))

    try:
        database = _database(client)
        if database is not None:
            return _read_histories(database, ids, metric)
        with ThreadPoolExecutor(max_workers=8) as pool:
            return {run_id: points for run_id, points in pool.map(one, ids) if points}
    except (MlflowException, OSError) as error:
        raise TrackingError(f"{store.uri} could not be read: {error}") from error


def recorded_images(store: Store, run_id: str, keys: Iterable[str]) -> dict[str, bytes]:
    """The newest picture a run has recorded under each key, as PNG; keys without one are left out.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    client, _ = store.open()
    found: dict[str, bytes] = {}
    try:
        paths = [item.path for item in client.list_artifacts(run_id, "images") if item.path.endswith(".png")]
        with tempfile.TemporaryDirectory() as folder:
            for key in keys:
                own = [path for path in paths if path.startswith(f"images/{key}+step+")]
                if own:
                    newest = max(own, key=lambda path: [int(word) for word in path.split("+")[2:5:2]])
                    found[key] = Path(client.download_artifacts(run_id, newest, folder)).read_bytes()
    except (MlflowException, OSError) as error:
        raise TrackingError(f"{store.uri} could not be read: {error}") from error
    return found


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
    with _reached(store, "written") as (client, _):
        for file in files:
            client.log_artifact(run_id, str(file))
        client.set_tag(run_id, _DESCRIPTION, description[:_DESCRIBED_CHARACTERS])


def _database(client: MlflowClient) -> Any:
    """MLflow's store, where it is a database that this process itself reads; None of a server."""
    store = client._tracking_client.store
    return store if hasattr(store, "ManagedSessionMaker") else None


def _read_children(database: Any, sweep_id: str) -> list[ChildRow]:
    """MLflow's search would make an object of every param and tag: six seconds for 1,000 runs."""
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlRun, SqlTag
    from sqlalchemy import select

    chosen = select(SqlTag.run_uuid).where(SqlTag.key == PARENT, SqlTag.value == sweep_id)
    columns = (SqlRun.run_uuid, SqlRun.name, SqlRun.status, SqlRun.start_time, SqlRun.end_time)
    read_tags = (REASON, POINT, TRIAL, CONFIG_HASH, COMMIT, SUPERSEDED, HEARTBEAT, METRICS)
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    metrics: dict[str, dict[str, float]] = defaultdict(dict)
    with database.ManagedSessionMaker() as session:
        runs = session.execute(
            select(*columns)
            .where(SqlRun.run_uuid.in_(chosen), SqlRun.lifecycle_stage == "active")
            .order_by(SqlRun.start_time, SqlRun.run_uuid)
        ).all()
        for run_id, key, value in session.execute(
            select(SqlTag.run_uuid, SqlTag.key, SqlTag.value).where(
                SqlTag.run_uuid.in_(chosen), SqlTag.key.in_(read_tags)
            )
        ):
            tags[run_id][key] = value
        latest = (SqlLatestMetric.run_uuid, SqlLatestMetric.key, SqlLatestMetric.value, SqlLatestMetric.is_nan)
        for run_id, key, value, is_nan in session.execute(select(*latest).where(SqlLatestMetric.run_uuid.in_(chosen))):
            metrics[run_id][key] = math.nan if is_nan else value
    return [_row(i, name, status, start, end, tags[i], metrics[i], {}) for i, name, status, start, end in runs]


def _sweep_row(client: MlflowClient, run: Run) -> SweepRow:
    tags = run.data.tags
    return SweepRow(
        run.info.run_id,
        tags[NAME],
        client.get_experiment(run.info.experiment_id).name,
        run.info.status,
        json.loads(tags[AXES]),
        json.loads(tags[FIXED]),
        tags[COMMAND],
        json.loads(tags[SEARCH]) if SEARCH in tags else None,
        int(tags[THREADS]) if THREADS in tags else None,
    )


def _child_row(run: Run) -> ChildRow:
    info, data = run.info, run.data
    return _row(
        info.run_id, info.run_name, info.status, info.start_time, info.end_time, data.tags, data.metrics, data.params
    )


def _read_histories(database: Any, ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy import select

    columns = (SqlMetric.run_uuid, SqlMetric.step, SqlMetric.value, SqlMetric.is_nan)
    by_run: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with database.ManagedSessionMaker() as session:
        for start in range(0, len(ids), _PAGE):
            some = ids[start : start + _PAGE]
            chosen = select(*columns).where(SqlMetric.key == metric, SqlMetric.run_uuid.in_(some))
            for run_id, step, value, is_nan in session.execute(chosen):
                by_run[run_id].append((step, math.nan if is_nan else value))
    return {run_id: sorted(by_run[run_id]) for run_id in ids if run_id in by_run}


def _row(
    run_id: str,
    name: str,
    status: str,
    start_ms: int,
    end_ms: int | None,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    params: Mapping[str, str],
) -> ChildRow:
    return ChildRow(
        id=run_id,
        name=name,
        status=status,
        reason=tags.get(REASON, ""),
        point=json.loads(tags.get(POINT, "{}")),
        trial=int(tags[TRIAL]) if TRIAL in tags else None,
        config_hash=tags.get(CONFIG_HASH, ""),
        commit=tags.get(COMMIT, ""),
        superseded_by=tags.get(SUPERSEDED, ""),
        alive_s=int(tags.get(HEARTBEAT, 0)) / 1000,
        seconds=(end_ms or 1000 * time.time()) / 1000 - start_ms / 1000,
        metrics=metrics,
        declared=from_text(tags.get(METRICS, "")),
        params=params,
    )
