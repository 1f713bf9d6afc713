"""Sweeps as their parent run records them."""

from pathlib import Path

import pytest

from facelab.errors import ConfigError
from facelab.tracking import SqliteStore, TrackedRun, begin_sweep, find_sweep, record_sweep


def test_values_that_a_tag_cannot_hold_are_refused_and_those_before_are_kept(
    store_folder: Path, tmp_path: Path
) -> None:
    store = SqliteStore(str(store_folder), "long axes")
    many = {"seed": [str(number) for number in range(1_000, 1_990)]}  # 10 + 8 characters a value
    parent = begin_sweep(store, "many", many, [], "train -m", None, None, tmp_path)
    row = find_sweep(store, "many")
    assert row is not None
    assert row.axes == many
    with pytest.raises(ConfigError, match=r"the 1,090 values of seed take 8,730 characters.*sweep\.name=<name>"):
        record_sweep(parent, row, {"seed": [str(number) for number in range(2_000, 2_100)]}, "train -m", None)
    assert TrackedRun.open(parent.folder).settle()
    assert find_sweep(store, "many") == row
    too_many = {"seed": [str(number) for number in range(10_000, 12_000)]}
    with pytest.raises(ConfigError, match="the 2,000 values"):
        begin_sweep(store, "more", too_many, [], "train -m", None, None, tmp_path)
    assert find_sweep(store, "more") is None
