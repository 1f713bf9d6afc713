"""Searches as whole commands."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run

from facelab.tracking.sweeps import PARENT
from tests.conftest import TINY, Command
from tests.data.made import make_folder
from tests.sweep.test_sweep import FAULTY, faulty

Runs = Callable[[], list[Run]]
Experiment = tuple[str, str]

__all__ = ["faulty"]

SMALL = (
    *(override for override in TINY if not override.startswith("trainer.validations")),
    "trainer.validations=4",
    "model.encoder.widths=[8,16]",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=64",
    "sweep.jobs=1",
)
RATE = "model.optimizer.lr=interval(1e-5,1e-1)"
LONGER = "model.recipe.max_images=12800"  # so that a trial is still training when it is told to stop


def _children(runs: list[Run]) -> list[Run]:
    children = [run for run in runs if PARENT in run.data.tags]
    return sorted(children, key=lambda run: int(run.data.tags["sweep.trial"]))


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_and_leaves_the_best_config(
    facelab: Command, experiment: Experiment, runs: Runs, tmp_path: Path
) -> None:
    search = ("train", "-m", "search=random", *SMALL, *experiment, RATE, "augment=none,light", "search.prune=false")
    outcome = facelab(*search, "search.trials=1", "sweep.name=mine")
    assert outcome.status == 0, outcome.error
    outcome = facelab(*search, "search.trials=3", "sweep.name=mine")
    assert outcome.status == 0, outcome.error
    assert "3 trials, 1 done before" in outcome.out
    assert [run.data.tags["sweep.trial"] for run in _children(runs())] == ["0", "1", "2"]

    tried = {run.data.metrics["best/f1"]: run for run in reversed(_children(runs()))}  # of equals, the first
    best = json.loads(tried[max(tried)].data.tags["sweep.point"])
    composed = facelab("train", "+mine=best", "--cfg", "job").out
    assert f"lr: {float(best['model.optimizer.lr'])}" in composed


@pytest.mark.slow
def test_a_trial_that_fails_or_is_no_number_is_a_failed_trial(
    facelab: Command, experiment: Experiment, runs: Runs, faulty: None
) -> None:
    fit = (*FAULTY, "trainer.validations=2", "sweep.jobs=1")
    outcome = facelab(
        "train", "-m", "search=grid", *fit, *experiment, "data.how=raise,none", "model.optimizer.lr=1e30,1e-3"
    )
    assert outcome.status == 1
    assert [run.info.status for run in _children(runs())] == ["FAILED", "FAILED", "FAILED", "FINISHED"]
    assert "3 of 4 jobs failed" in outcome.error
    assert "Best: trial 3" in outcome.out


@pytest.mark.slow
def test_a_trial_that_does_not_compose_is_a_failed_trial_and_the_search_goes_on(
    facelab: Command, experiment: Experiment, runs: Runs
) -> None:
    models = ("model=cnn_arcface,cnn", "model.loss.margin_rad=choice(0.3)")
    search = ("train", "-m", "search=grid", *SMALL, *experiment, *models, "sweep.jobs=2")
    outcome = facelab(*search)
    assert outcome.status == 1
    assert "trial 1 has an invalid config: model.loss.margin_rad: unknown key" in outcome.error
    assert "1 of 2 jobs failed" in outcome.error
    assert {run.data.tags["sweep.trial"]: run.info.status for run in _children(runs())} == {"0": "FINISHED"}
    assert "2 trials, 2 done before" in facelab(*search).out


@pytest.mark.slow
def test_a_hopeless_trial_is_pruned(facelab: Command, experiment: Experiment, runs: Runs) -> None:
    longer = ("search.startup_trials=1", "model.recipe.max_images=3200", "trainer.validations=20")
    outcome = facelab("train", "-m", "search=grid", *SMALL, *longer, *experiment, "model.optimizer.lr=1e-3,1e-9")
    assert outcome.status == 0, outcome.error
    good, hopeless = _children(runs())
    assert good.info.status == "FINISHED"
    assert hopeless.info.status == "KILLED"
    assert hopeless.data.tags["reason"].startswith("pruned after")
    outcome = facelab("train", "-m", "search=grid", *SMALL, *longer, *experiment, "model.optimizer.lr=1e-3,1e-9")
    assert "2 trials, 2 done before" in outcome.out
    assert len(_children(runs())) == 2


@pytest.mark.slow
def test_a_trial_that_finished_unheard_is_not_trained_again(
    facelab: Command, experiment: Experiment, runs: Runs, tmp_path: Path
) -> None:
    """The sweep was killed after a run had finished and before the search was told."""
    search = ("train", "-m", "search=random", *SMALL, *experiment, RATE, "search.trials=1")
    assert facelab(*search).status == 0
    (child,) = _children(runs())
    log = tmp_path / "runs" / child.data.tags[PARENT] / "study.log"
    lines = log.read_text().splitlines(keepends=True)
    assert '"ended"' in lines[-1]
    log.write_text("".join(lines[:-1]))
    outcome = facelab(*search)
    assert outcome.status == 0, outcome.error
    assert f"Best: trial 0, val/f1 {child.data.metrics['best/f1']:.4f}" in outcome.out
    (again,) = _children(runs())
    assert again.info.run_id == child.info.run_id


def test_a_set_whose_own_split_has_no_validation_is_refused_before_the_first_trial(
    facelab: Command, experiment: Experiment, runs: Runs
) -> None:
    for part, people in (("train", 3), ("test", 3)):
        make_folder(Path(part), people, pictures=4)
    own = [text for text in SMALL if "last_person" not in text]
    folder = ("data=folder", "data.root=.", "split=official")
    outcome = facelab("train", "-m", "search=random", *own, *experiment, *folder, RATE)
    assert outcome.status == 2
    assert "comes without validation images" in outcome.error
    assert "split.val=0.1" in outcome.error
    assert not runs()


def test_a_metric_that_no_validation_gives_ends_the_search_at_once(
    facelab: Command, experiment: Experiment, runs: Runs
) -> None:
    outcome = facelab("train", "-m", "search=random", *SMALL, *experiment, RATE, "search.metric=val/f2", LONGER)
    assert outcome.status == 2
    assert "search.metric=val/f2: the validation of cnn" in outcome.error
    assert "val/f1" in outcome.error
    assert len(_children(runs())) == 1
    assert {run.info.status for run in runs()} == {"KILLED", "FAILED"}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["split=few_shot", RATE], ["no validation faces", "split=ratio or split=kfold"]),
        (["search.metric=test/f1", RATE], ["search.metric=test/f1", "validation"]),
        (["seed=1,2", RATE], ["seed", "replicates"]),
        (["model.optimizer.lr=interval(1e-2,1e-4)"], ["interval"]),
        (["model.optimizer.lrr=interval(1e-4,1e-2)"], ["model.optimizer.lrr", "Did you mean"]),
        ([], ["nothing to search over"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and "=" in "".join(value) else "",
)
def test_bad_input_is_told_before_the_first_trial(
    facelab: Command, tmp_path: Path, overrides: list[str], says: list[str]
) -> None:
    outcome = facelab("train", "-m", "search=tpe", *SMALL, *overrides)
    assert outcome.status == 2
    for words in says:
        assert words in outcome.error
    assert not list(tmp_path.glob("runs/*/log.txt"))


@pytest.mark.slow
def test_a_name_of_a_search_is_not_one_of_a_sweep(facelab: Command, experiment: Experiment) -> None:
    assert facelab("train", "-m", *SMALL, *experiment, "augment=none", "sweep.name=mine").status == 0
    outcome = facelab("train", "-m", "search=grid", *SMALL, *experiment, "augment=none,light", "sweep.name=mine")
    assert outcome.status == 2
    assert "one of them is a search" in outcome.error


@pytest.mark.slow
def test_a_name_of_a_search_belongs_to_one_algorithm_and_seed(facelab: Command, experiment: Experiment) -> None:
    search = ("train", "-m", "search=random", *SMALL, *experiment, "augment=none,light", "search.trials=1")
    assert facelab(*search, "sweep.name=mine").status == 0
    outcome = facelab(*search, "sweep.name=mine", "search.seed=1")
    assert outcome.status == 2
    assert "its trials are drawn by Random 0 (algorithm and seed), not Random 1" in outcome.error
