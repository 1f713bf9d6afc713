"""Which recorded runs are those of a job."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from facelab.config.identity import config_hash
from facelab.config.needs import Need
from facelab.errors import ConfigError
from facelab.runs.begin import resolved
from facelab.runs.dependencies import Dependency
from facelab.runs.resume import write_config
from facelab.sweep.children import standings
from facelab.sweep.plan import Job
from facelab.sweep.registered import refuse_changed_configs
from facelab.tracking import ChildRow, SqliteStore, TrackedRun

TRAINER = {"_target_": "facelab.training.TrainerSettings", "accelerator": "auto", "precision": "auto", "threads": None}


def _config(**values: Any) -> dict[str, Any]:
    return resolved({**values, "trainer": {**TRAINER, "threads": 3}})


def _job(latent_dim: int) -> Job:
    needed = {"model": {"latent_dim": latent_dim}, "trainer": TRAINER}
    return Job(
        {"seed": "1"}, _config(seed=1), {"model": "cnn"}, {"generator": Dependency(needed, {}, Need("generator"))}
    )


def _row(needs: Mapping[str, str]) -> ChildRow:
    own = config_hash(_config(seed=1))
    return ChildRow("a" * 32, "cnn", "FINISHED", "", {"seed": "1"}, None, own, "", "", 0, 0, {}, {}, {}, needs=needs)


def test_a_run_whose_generator_had_another_config_is_replaced_and_in_a_study_refused(tmp_path: Path) -> None:
    """The generator has the threads of the job, and the precision that its machine chose."""
    row = _row({"generator": config_hash(_config(model={"latent_dim": 8})), "embedder": "0" * 64})
    (same,), (other,) = (standings([_job(size)], [row], tmp_path, "", "keep") for size in (8, 16))
    assert (same.done, same.replaced) == (row.id, [])
    assert (other.done, other.replaced, other.outlived) == (None, [], [row.id])
    refuse_changed_configs("mine", [_job(8)], [row], tmp_path)
    with pytest.raises(ConfigError, match=f"run {row.id} has finished with \\(that of its generator\\)"):
        refuse_changed_configs("mine", [_job(16)], [row], tmp_path)


def test_a_run_that_started_from_other_weights_of_the_same_name_is_replaced_and_in_a_study_refused(
    tmp_path: Path,
) -> None:
    weights = tmp_path / "encoder.safetensors"
    weights.write_bytes(b"old")
    config = _config(seed=1, model={"init_from": str(weights)})
    job = Job({"seed": "1"}, config, {"model": "cnn"}, {})
    digest = hashlib.sha256(b"old").hexdigest()
    row = dataclasses.replace(_row({}), config_hash=config_hash(config), initial_weights=digest)
    (same,) = standings([job], [row], tmp_path, "", "keep")
    refuse_changed_configs("mine", [job], [row], tmp_path)
    weights.write_bytes(b"new")
    os.utime(weights, ns=(1, 1))  # a time of its own, however coarse the clock
    (other,) = standings([job], [row], tmp_path, "", "keep")
    assert (same.done, other.done, other.outlived) == (row.id, None, [row.id])
    with pytest.raises(ConfigError, match=r"the weights in model\.init_from"):
        refuse_changed_configs("mine", [job], [row], tmp_path)
    weights.unlink()  # nothing to compare with
    (gone,) = standings([job], [row], tmp_path, "", "keep")
    assert gone.done == row.id


def test_a_finished_run_gives_way_only_to_a_finished_one(tmp_path: Path) -> None:
    old, failed = (dataclasses.replace(_row({}), id=name * 32, commit="then") for name in "ab")
    failed = dataclasses.replace(failed, status="FAILED")
    (standing,) = standings([_job(8)], [old, failed], tmp_path, "now", "redo")
    assert (standing.done, standing.replaced, standing.outlived) == (None, [failed.id], [old.id])
    new = dataclasses.replace(old, id="c" * 32, commit="now")
    (standing,) = standings([_job(8)], [old, failed, new], tmp_path, "now", "redo")
    assert (standing.done, standing.replaced) == (new.id, [old.id, failed.id])


def test_an_interrupted_run_of_the_current_code_goes_on_beside_a_finished_one_of_older_code(
    store_folder: Path, tmp_path: Path
) -> None:
    begun = TrackedRun.create(SqliteStore(str(store_folder), "children"), "begun", {}, tmp_path)
    write_config(_config(seed=1), begun.folder)
    rows = [
        dataclasses.replace(_row({}), commit="then"),
        dataclasses.replace(_row({}), id=begun.id, commit="now", status="KILLED"),
    ]
    (standing,) = standings([_job(8)], rows, tmp_path, "now", "redo")
    assert standing.begun is not None
    assert (standing.begun.id, standing.replaced, standing.outlived) == (begun.id, [], [rows[0].id])


def test_a_run_that_recorded_nothing_of_its_generator_is_that_of_the_job(tmp_path: Path) -> None:
    (standing,) = standings([_job(16)], [_row({})], tmp_path, "", "keep")
    assert standing.done == "a" * 32
