"""Which recorded runs are those of a job."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from facelab.config.identity import config_hash
from facelab.config.needs import Need
from facelab.errors import ConfigError
from facelab.runs.begin import resolved
from facelab.runs.dependencies import Dependency
from facelab.sweep.children import standings
from facelab.sweep.plan import Job
from facelab.sweep.registered import refuse_changed_configs
from facelab.tracking import ChildRow

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
    assert (other.done, other.replaced) == (None, [row.id])
    refuse_changed_configs("mine", [_job(8)], [row], tmp_path)
    with pytest.raises(ConfigError, match=f"run {row.id} has finished with \\(that of its generator\\)"):
        refuse_changed_configs("mine", [_job(16)], [row], tmp_path)


def test_a_run_that_recorded_nothing_of_its_generator_is_that_of_the_job(tmp_path: Path) -> None:
    (standing,) = standings([_job(16)], [_row({})], tmp_path, "", "keep")
    assert standing.done == "a" * 32
