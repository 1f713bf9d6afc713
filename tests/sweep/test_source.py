"""The order in which a sweep provides its jobs."""

import dataclasses
from pathlib import Path

from facelab.config.needs import Need
from facelab.runs.dependencies import Dependency
from facelab.runs.resume import write_config
from facelab.sweep.children import Standing
from facelab.sweep.executor import Demand
from facelab.sweep.plan import Job
from facelab.sweep.source import Combinations
from facelab.tracking import SqliteStore, TrackedRun


def _standing(name: str, generator: int | None) -> Standing:
    needed = {} if generator is None else {"generator": _generator(generator)}
    config = {"trainer": {"devices": 1, "threads": 1, "accelerator": "cpu"}, "runtime": {"workers": 0}}
    return Standing(Job({"name": name}, config, {}, needed))


def _generator(seed: int) -> Dependency:
    return Dependency({"seed": seed, "trainer": {}}, {}, Need("generator"))


def _next(source: Combinations) -> Standing:
    assert source.upcoming() is not None
    standing = source.next()
    assert standing is not None
    return standing


def _name(standing: Standing) -> str:
    return standing.job.point["name"]


def test_jobs_that_would_wait_for_anothers_generator_come_later() -> None:
    listed = [_standing("a", 1), _standing("b", 1), _standing("c", 2), _standing("d", None), _standing("e", 1)]
    source = Combinations(listed)
    first, *rest = [_next(source) for _ in range(3)]
    assert [_name(standing) for standing in (first, *rest)] == ["a", "c", "d"]
    source.ended(first.job, "finished", {})
    assert [_name(_next(source)) for _ in range(2)] == ["b", "e"]
    assert source.upcoming() is None
    assert source.next() is None


def test_without_another_job_the_first_one_waits_for_the_generator() -> None:
    source = Combinations([_standing("a", 1), _standing("b", 1), _standing("c", 1)])
    assert [_name(_next(source)) for _ in range(3)] == ["a", "b", "c"]


def test_after_a_failure_another_job_trains_the_generator() -> None:
    source = Combinations([_standing("a", 1), _standing("b", 1), _standing("c", 1), _standing("d", None)])
    first = _next(source)
    source.ended(first.job, "failed", {})
    assert [_name(_next(source)) for _ in range(2)] == ["b", "d"]


def test_a_job_that_was_taken_back_trains_no_generator() -> None:
    source = Combinations([_standing("a", 1), _standing("b", None), _standing("c", 1)])
    source.back(_next(source))
    assert [_name(_next(source)) for _ in range(3)] == ["b", "c", "a"]


def test_a_generator_that_a_generator_needs_counts_too() -> None:
    nested = Dependency({"seed": 9, "trainer": {}}, {}, Need("generator"), {"donor": _generator(1)})
    config = {"trainer": {"devices": 1, "threads": 1, "accelerator": "cpu"}, "runtime": {"workers": 0}}
    outer = Standing(Job({"name": "outer"}, config, {}, {"generator": nested}))
    source = Combinations([outer, _standing("a", 1), _standing("b", None)])
    assert [_name(_next(source)) for _ in range(3)] == ["outer", "b", "a"]


def test_an_interrupted_run_needs_what_its_own_config_says(store_folder: Path, tmp_path: Path) -> None:
    """The accelerator is no part of a run's identity, so the same command may name another one now."""
    begun = TrackedRun.create(SqliteStore(str(store_folder), "demand"), "begun", {}, tmp_path)
    write_config({"trainer": {"devices": 2, "threads": 3, "accelerator": "gpu"}}, begun.folder)
    source = Combinations([dataclasses.replace(_standing("a", None), begun=begun)])
    assert source.upcoming() == Demand(devices=2, threads=3, gpu=True, workers=0)
    assert _next(source).demand == Demand(devices=2, threads=3, gpu=True, workers=0)
