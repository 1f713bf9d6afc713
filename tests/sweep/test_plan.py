"""Axes, points and names of a sweep, by hand."""

from collections.abc import Mapping, Sequence

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from facelab.errors import ConfigError
from facelab.sweep.plan import Job, Plan, axis_name, divide, first_point, points


def _plan(*overrides: str, sampler: str = "") -> Plan:
    def job(chosen: Sequence[str], point: Mapping[str, str]) -> Job:
        return Job(point, {"overrides": list(chosen)}, {"model": "cnn"}, {})

    axes, fixed = divide(OverridesParser.create().parse_overrides([*overrides]))
    return Plan(axes, fixed, "command", job, sampler)


def test_the_last_axis_runs_fastest_and_the_last_override_of_a_key_holds() -> None:
    plan = _plan("seed=1,2,3", "augment=none", "model=cnn,gan", "seed=range(2)", "augment=light")
    assert [axis_name(axis) for axis in plan.axes] == ["seed", "model"]
    assert list(points(plan.axes)) == [
        {"seed": "0", "model": "cnn"},
        {"seed": "0", "model": "gan"},
        {"seed": "1", "model": "cnn"},
        {"seed": "1", "model": "gan"},
    ]
    job = plan.compose({"seed": "0", "model": "gan"})
    assert job.config["overrides"] == ["augment=light", "seed=0", "model=gan"]


def test_a_value_given_twice_is_one_point() -> None:
    assert list(points(_plan("seed=1,1,2").axes)) == [{"seed": "1"}, {"seed": "2"}]


def test_values_with_commas_stay_whole() -> None:
    listed = points(_plan("model.encoder.widths=[8,16],[16,32]").axes)
    assert [point["model.encoder.widths"] for point in listed] == ["[8,16]", "[16,32]"]


def test_an_added_key_keeps_its_plus() -> None:
    plan = _plan("+data.number=1,2")
    assert list(points(plan.axes)) == [{"data.number": "1"}, {"data.number": "2"}]
    assert plan.compose({"data.number": "1"}).config["overrides"] == ["+data.number=1"]


def test_the_first_point_has_the_first_value_of_each_axis_and_the_low_end_of_an_interval() -> None:
    axes = _plan("model=cnn,gan", "width=int(interval(16,64))", "lr=tag(log,interval(1e-5,1e-2))", "k=range(2,9)").axes
    assert first_point(axes) == {"model": "cnn", "width": "16", "lr": "1e-05", "k": "2"}


def test_a_name_depends_on_axes_and_choices_alone() -> None:
    name = _plan("seed=1,2", "augment=light").default_name
    assert name.startswith("seed-")
    assert _plan("augment=light", "seed=3,4,5", "sweep.jobs=2", "runtime.workers=0").default_name == name
    assert _plan("seed=1,2", "augment=none").default_name != name
    searches = [
        _plan("seed=1,2", "augment=light", sampler=sampler).default_name for sampler in ("TPE 0", "TPE 1", "Grid")
    ]
    assert len({name, *searches}) == 4
    assert _plan("+few_shot=sweep", "split.seed=1,2").default_name.startswith("few_shot-")


def test_a_run_is_named_by_what_is_swept() -> None:
    job = Job({"model": "cnn", "split.train_per_identity": "3", "seed": "1"}, {}, {"model": "cnn"}, {})
    assert job.name == "cnn · k=3 · seed=1"
    assert Job({"model.optimizer.lr": "0.1"}, {}, {"model": "gan"}, {}, trial=7).name == "gan · trial 7 · lr=0.1"


@pytest.mark.parametrize("shared", ["tracking.folder=a,b", "sweep.jobs=1,2", "runtime.runs_folder=a,b"])
def test_what_a_sweep_shares_is_not_swept(shared: str) -> None:
    with pytest.raises(ConfigError, match="cannot be swept"):
        _plan(shared)
