"""List the runs of a store, and close those whose process died."""

import time
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run

from facelab.errors import TrackingError
from facelab.tracking.checks import CHECK, KIND
from facelab.tracking.delivery import HEARTBEAT, REASON, SILENT_AFTER_S
from facelab.tracking.finished import EVALUATES
from facelab.tracking.run import CONFIG_HASH
from facelab.tracking.store import Store, readable, store_errors
from facelab.tracking.sweeps import PARENT


@dataclass(frozen=True)
class RunRow:
    """A row of the table of runs.

    Args:
        id: of the run.
        name: on MLflow's page.
        experiment: name of its MLflow experiment.
        status: RUNNING, FINISHED, FAILED or KILLED.
        reason: why it did not finish.
        started_s: seconds since 1970.
        seconds: from start to end, or until now.
        images_seen: so far.
        accuracy: on the test split, in [0, 1]; None before the evaluation.
        evaluates: id of the run that this one evaluates; empty for a training.
    """

    id: str
    name: str
    experiment: str
    status: str
    reason: str
    started_s: float
    seconds: float
    images_seen: int
    accuracy: float | None
    evaluates: str


def recent_runs(store: Store, limit: int) -> list[RunRow]:
    """The newest runs of all experiments except those of `facelab check`.

    Running ones without a recent heartbeat are first closed as KILLED.

    Args:
        store: the store to search.
        limit: maximal number of runs.

    Raises:
        TrackingError: the store cannot be reached or written.
    """
    client, _ = store.open()
    try:
        names = {e.experiment_id: e.name for e in client.search_experiments() if e.tags.get(KIND) != CHECK}
        found = client.search_runs(list(names), max_results=limit, order_by=["attributes.start_time DESC"])
        for run in client.search_runs(list(names), filter_string="attributes.status = 'RUNNING'"):
            _close_if_dead(client, run)
        found = [client.get_run(run.info.run_id) if run.info.status == "RUNNING" else run for run in found]
    except store_errors() as error:
        raise TrackingError(f"{store.uri} could not be read: {readable(error)}.") from error
    return [_row(run, names[run.info.experiment_id]) for run in found]


def find_finished(store: Store, config_hash: str) -> list[str]:
    """Ids of the finished runs of a config in all experiments, the newest first.

    Args:
        store: the store to search.
        config_hash: value of their tag `config.hash`.

    Raises:
        TrackingError: the store cannot be reached or read.
    """
    return _find(store, config_hash, "=")


def find_unfinished(store: Store, config_hash: str) -> list[str]:
    """Ids of the runs of a config that have not finished; arguments and errors as for `find_finished`."""
    return _find(store, config_hash, "!=")


def _find(store: Store, config_hash: str, comparison: str) -> list[str]:
    client, _ = store.open()
    try:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        chosen = f"attributes.status {comparison} 'FINISHED' and tags.`{CONFIG_HASH}` = '{config_hash}'"
        found = client.search_runs(experiments, filter_string=chosen, order_by=["attributes.start_time DESC"])
    except store_errors() as error:
        raise TrackingError(f"{store.uri} could not be read: {readable(error)}.") from error
    return [run.info.run_id for run in found]


def _close_if_dead(client: MlflowClient, run: Run) -> None:
    """Close a run as KILLED if its heartbeat has stopped.

    Runs of other programs have none and are skipped, and so are the runs of a sweep that have not begun: their jobs may
    still wait in a queue.
    """
    beat = run.data.tags.get(HEARTBEAT, "")
    beat_ms = int(beat) if beat.isdecimal() else 0
    if PARENT in run.data.tags and not run.data.metrics:
        return
    if not beat_ms or time.time() - beat_ms / 1000 < SILENT_AFTER_S:
        return
    client.set_tag(run.info.run_id, REASON, "no heartbeat: the process was killed, or its machine stopped")
    client.set_terminated(run.info.run_id, "KILLED", beat_ms)


def _row(run: Run, experiment: str) -> RunRow:
    # Other programs may end a run without a time.
    end_s = time.time() if run.info.status == "RUNNING" else (run.info.end_time or run.info.start_time) / 1000
    steps = [point.step for point in run.data._metric_objs if point.key.startswith("train/")]
    return RunRow(
        run.info.run_id,
        run.info.run_name,
        experiment,
        run.info.status,
        run.data.tags.get(REASON, ""),
        run.info.start_time / 1000,
        end_s - run.info.start_time / 1000,
        int(run.data.metrics.get("fit/images_seen", max(steps, default=0))),
        run.data.metrics.get("test/accuracy"),
        run.data.tags.get(EVALUATES, ""),
    )
