"""Evaluations are no trials of the sweep whose runs they evaluate."""

from pathlib import Path

from mlflow import MlflowClient

from facelab.compare.table import study_of_runs, study_of_sweep
from facelab.tracking import SqliteStore, TrackedRun, children, evaluation_tags, recorded_run, runs_by_id
from tests.compare.store import RecordedSweep


def test_an_evaluation_of_a_sweeps_run_is_a_row_of_its_own_and_no_trial(store_folder: Path, tmp_path: Path) -> None:
    store = SqliteStore(str(store_folder), "evaluations")
    sweep = RecordedSweep(store, tmp_path, "evaluated", {"seed": ["1"]})
    child = sweep.child({"seed": "1"}, {"test/accuracy": 0.9})
    recorded = recorded_run(store, child)
    assert recorded is not None
    run = TrackedRun.create(store, "eval on lfw of 1", {"seed": "1"}, tmp_path, evaluation_tags(recorded))
    MlflowClient(store.uri).log_metric(run.id, "test/accuracy", 0.4)
    MlflowClient(store.uri).set_terminated(run.id)

    found = children(store, sweep.row.id)
    assert [row.id for row in found] == [child]
    (group,) = study_of_sweep(sweep.row, found, ["test/accuracy"]).groups
    assert [one.metrics["test/accuracy"] for one in group.runs] == [0.9]
    rows = [row for row in runs_by_id(store, [child, run.id]) if row is not None]
    study = study_of_runs(rows, ["test/accuracy"])
    assert [(one.label.rpartition(" ")[0], one.runs[0].metrics["test/accuracy"]) for one in study.groups] == [
        ("1", 0.9),
        ("eval on lfw of 1", 0.4),
    ]
