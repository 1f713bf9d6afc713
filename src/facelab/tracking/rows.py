"""Read recorded runs for a comparison: their last values, curves and images."""

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from facelab.metrics.declaration import Metric, from_text
from facelab.tracking.database import read_children, read_histories
from facelab.tracking.run import CONFIG_HASH, HEARTBEAT, INIT_FROM_SHA256, METRICS, NEEDS, REASON
from facelab.tracking.store import SqliteStore, Store
from facelab.tracking.sweeps import COMMIT, PARENT, POINT, SUPERSEDED, TRIAL, reached

_GENERATOR = f"{NEEDS}generator"
_NEEDED_HASH = ".config_hash"  # ends the tag of a needed run's config hash
_TAGS = (
    *(REASON, POINT, TRIAL, CONFIG_HASH, COMMIT, SUPERSEDED, HEARTBEAT, METRICS, INIT_FROM_SHA256, _GENERATOR),
    f"{NEEDS}*{_NEEDED_HASH}",
)
_PARAMS = ("seed",)  # of the children of a sweep
_PAGE = 1000


@dataclass(frozen=True)
class ChildRow:
    """A recorded run, of a sweep or not.

    Args:
        id: of the run.
        name: on MLflow's page.
        status: RUNNING, FINISHED, FAILED or KILLED.
        reason: why it did not finish.
        point: its value on every axis of the sweep, as text of the command line; empty outside a sweep.
        trial: its number in a search.
        config_hash: of its config.
        commit: commit of its code; empty outside git.
        superseded_by: id of the run that replaced it, or empty.
        alive_s: time of its last heartbeat, in seconds since 1970.
        seconds: from start to end, or until now.
        metrics: last values by name.
        declared: declarations of its metrics, by name.
        params: its flat config, as text; of children of a sweep, only the seed.
        generator: id of the run that generated faces for its training; empty without one.
        needs: config hashes of the runs that it depends on, by role.
        initial_weights: SHA-256 of the weights that its training started from; empty for random ones.
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
    generator: str = ""
    needs: Mapping[str, str] = field(default_factory=dict)
    initial_weights: str = ""


def children(store: Store, sweep_id: str) -> list[ChildRow]:
    """All runs of a sweep, also replaced ones, the oldest first.

    Args:
        store: the store to search.
        sweep_id: of the parent run.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    if isinstance(store, SqliteStore):
        store.open()
        return [_row(*found) for found in read_children(store.database, PARENT, sweep_id, _TAGS, _PARAMS)]
    with reached(store, "read") as (client, _):
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
            found += [
                dataclasses.replace(row, params={key: row.params[key] for key in _PARAMS if key in row.params})
                for row in map(_child_row, page)
            ]
            token = page.token
            if not token:
                return found


def runs_by_id(store: Store, ids: Iterable[str]) -> list[ChildRow | None]:
    """Find runs by their ids; None for each id without a run.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    rows: list[ChildRow | None] = []
    with reached(store, "read") as (client, _):
        for run_id in ids:
            try:
                rows.append(_child_row(client.get_run(run_id)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                rows.append(None)
    return rows


def histories(store: Store, ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
    """Read the curve of a metric for each run that has one: points (images seen, value), in order.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    if isinstance(store, SqliteStore):
        store.open()
        return read_histories(store.database, ids, metric)
    with reached(store, "read") as (client, _), ThreadPoolExecutor(max_workers=8) as pool:
        recorded = pool.map(lambda run_id: client.get_metric_history(run_id, metric), ids)
        points = [sorted((point.step, point.value) for point in history) for history in recorded]
    return {run_id: own for run_id, own in zip(ids, points, strict=True) if own}


def _child_row(run: Run) -> ChildRow:
    info, data = run.info, run.data
    return _row(
        info.run_id, info.run_name, info.status, info.start_time, info.end_time, data.tags, data.metrics, data.params
    )


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
        generator=tags.get(_GENERATOR, ""),
        needs={
            key.removeprefix(NEEDS).removesuffix(_NEEDED_HASH): value
            for key, value in tags.items()
            if key.startswith(NEEDS) and key.endswith(_NEEDED_HASH)
        },
        initial_weights=tags.get(INIT_FROM_SHA256, ""),
    )
