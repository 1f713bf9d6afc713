"""The recorded runs of a sweep."""

from mlflow.entities import Run

from facelab.tracking.sweeps import PARENT


def family(runs: list[Run]) -> tuple[Run, list[Run]]:
    """The parent and its children, the oldest first."""
    children = [run for run in runs if PARENT in run.data.tags]
    (parent,) = [run for run in runs if "sweep.name" in run.data.tags]
    assert all(child.data.tags[PARENT] == parent.info.run_id for child in children)
    return parent, sorted(children, key=lambda run: run.info.start_time)
