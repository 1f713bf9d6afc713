"""Record in MLflow what a look at a face set found."""

import copy
from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import Metric, Param

from facelab.tracking import environment
from facelab.tracking.delivery import now_ms
from facelab.tracking.note import CHARACTERS, DESCRIPTION
from facelab.tracking.store import Store
from facelab.tracking.sweeps import reached

KIND, CHECK = "facelab.kind", "check"
_VALUE_CHARACTERS = 500


def record_check(
    store: Store, name: str, page: Path, params: Mapping[str, str], counts: Mapping[str, int], description: str
) -> str:
    """Record a page as the artifact of a finished run, in an experiment that is apart from trainings.

    Args:
        store: its experiment's name, followed by ` checks`, is that of the experiment.
        name: of the run on MLflow's page.
        page: HTML file.
        params: the config, as text.
        counts: recorded as metrics.
        description: Markdown, cut after a few thousand characters.

    Returns:
        The run's id.

    Raises:
        TrackingError: the store cannot be reached or written.
    """
    apart = copy.copy(store)
    apart.experiment = f"{store.experiment} checks"
    with reached(apart, "written") as (client, experiment):
        client.set_experiment_tag(experiment, KIND, CHECK)
        tags = {
            **environment.git_state(),
            **environment.versions(),
            KIND: CHECK,
            "mlflow.source.name": "facelab check",
            "mlflow.source.type": "LOCAL",
            DESCRIPTION: description[:CHARACTERS],
        }
        run_id: str = client.create_run(experiment, tags=tags, run_name=name).info.run_id
        try:
            client.log_artifact(run_id, str(page))
            client.log_batch(
                run_id,
                metrics=[Metric(key, value, now_ms(), 0) for key, value in counts.items()],
                params=[Param(key, value[:_VALUE_CHARACTERS]) for key, value in params.items()],
            )
            client.set_terminated(run_id)
        except BaseException:  # also Ctrl-C: half a record must not stay
            client.delete_run(run_id)
            raise
    return run_id
