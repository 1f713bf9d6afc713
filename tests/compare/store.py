"""Sweeps as a store has them after training, without the training."""

import functools
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from facelab.metrics.declaration import to_text
from facelab.models import CNN, GAN, Autoencoder
from facelab.protocols import Classification, Generation, Reconstruction, Verification
from facelab.tracking import METRICS, Store, SweepRow, begin_sweep, child_tags, find_sweep
from facelab.tracking.sweeps import COMMIT, SUPERSEDED

# Every metric that facelab's own protocols and models declare.
_PROTOCOLS = (Classification, Verification, Reconstruction, Generation)
DECLARED = {metric.name: metric for model in (CNN, Autoencoder, GAN) for metric in model.term_metrics} | {
    metric.name: metric for protocol in _PROTOCOLS for metric in protocol.metrics
}


class RecordedSweep:
    """A sweep whose children are put into the store one by one.

    Args:
        store: where to.
        runs_folder: where the parent run gets a folder.
        name: of the sweep.
        axes: keys with their values.
        search: of a search, its facts.
    """

    def __init__(
        self,
        store: Store,
        runs_folder: Path,
        name: str,
        axes: Mapping[str, list[str]],
        search: Mapping[str, object] | None = None,
    ) -> None:
        self.store, self.name = store, name
        command = f"python train.py -m sweep.name={name}"
        begin_sweep(self.store, name, axes, ["trainer=cpu"], command, search, 1, runs_folder)
        self.client = MlflowClient(self.store.uri)
        self._begun = 0

    @functools.cached_property
    def row(self) -> SweepRow:
        """The parent run, as it is found."""
        found = find_sweep(self.store, self.name)
        assert found is not None
        return found

    def child(
        self,
        point: Mapping[str, str],
        metrics: Mapping[str, float],
        status: str = "FINISHED",
        *,
        curve: Mapping[str, list[tuple[int, float]]] | None = None,
        trial: int | None = None,
        reason: str = "",
        commit: str = "a" * 40,
        superseded_by: str = "",
        params: Mapping[str, str] | None = None,
        name: str = "",
    ) -> str:
        """Put a run into the store; its id."""
        self._begun += 1
        tags = {**child_tags(self.row.id, point, trial), COMMIT: commit, METRICS: to_text(DECLARED.values())}
        if reason:
            tags["reason"] = reason
        if superseded_by:
            tags[SUPERSEDED] = superseded_by
        now_ms = int(time.time() * 1000) + self._begun
        name = name or " · ".join(point.values())
        run_id: str = self.client.create_run(
            self.store.open()[1], start_time=now_ms, tags=tags, run_name=name
        ).info.run_id
        points = [Metric(key, value, now_ms, 0) for key, value in metrics.items()]
        for key, pairs in (curve or {}).items():
            points += [Metric(key, value, now_ms, step) for step, value in pairs]
        pairs_of_params = [Param(key, value) for key, value in {**point, **(params or {})}.items()]
        self.client.log_batch(run_id, metrics=points, params=pairs_of_params)
        if status != "RUNNING":
            self.client.set_terminated(run_id, status, now_ms + 60_000)
        return run_id
