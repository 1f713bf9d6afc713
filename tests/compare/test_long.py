"""The long table, as pandas reads it."""

import io
import json
import resource
from pathlib import Path

import pandas as pd
import pytest

from facelab.tracking import SqliteStore
from tests.compare.store import RecordedSweep
from tests.conftest import Command

VALUES = {("cnn", "1"): 0.9, ("cnn", "2"): 0.8, ("gan", "1"): float("nan")}


@pytest.fixture
def sweep(store_folder: Path, experiment: tuple[str, str], tmp_path: Path) -> RecordedSweep:
    store = SqliteStore(str(store_folder), experiment[1].partition("=")[2].strip("'"))
    sweep = RecordedSweep(store, tmp_path / "runs", "long", {"model": ["cnn", "gan"], "split.seed": ["1", "2"]})
    for (model, split), value in VALUES.items():
        metrics = {"test/accuracy": value, "test/accuracy_low": value - 0.1, "test/accuracy_high": value + 0.05}
        metrics |= {"fit/seconds": 12.0, "system/cpu": 50.0}
        sweep.child({"model": model, "split.seed": split}, metrics, params={"seed": "7", "model.lr": "0.1"})
    return sweep


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_row_for_each_run_and_metric(
    facelab: Command, sweep: RecordedSweep, experiment: tuple[str, str], tmp_path: Path, form: str
) -> None:
    outcome = facelab("compare", "sweep=long", f"format={form}", "out=tables", *experiment)
    assert outcome.status == 0, outcome.error
    file = tmp_path / "tables" / f"metrics.{form}"
    assert f"{file}  (6 rows: a run and a metric each; 3 runs)" in outcome.out
    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[form]
    table = read(file)
    columns = [
        "run_id",
        "run_name",
        "status",
        "counts",
        "model",
        "split.seed",
        "seed",
        "metric",
        "value",
        "low",
        "high",
    ]
    assert list(table.columns) == columns
    assert set(table["seed"]) == {7}
    assert sorted(set(table["metric"])) == ["fit/seconds", "test/accuracy"]
    means = table[table["metric"] == "test/accuracy"].groupby("model")["value"].mean()
    assert means["cnn"] == pytest.approx(0.85)
    assert pd.isna(means["gan"])
    first = table[(table["metric"] == "test/accuracy") & (table["model"] == "cnn") & (table["split.seed"] == 1)].iloc[0]
    assert (first["low"], first["high"]) == pytest.approx((0.8, 0.95))
    assert table.loc[table["metric"] == "fit/seconds", ["low", "high"]].isna().all(axis=None)
    assert not (tmp_path / "tables" / "comparison.html").exists()


def test_a_table_that_cannot_be_written_leaves_the_old_one(
    facelab: Command, sweep: RecordedSweep, experiment: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "tables" / "metrics.json"
    file.parent.mkdir()
    file.write_text("old", encoding="utf-8")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # writes beyond fail, as on a full disk
    try:
        outcome = facelab("compare", "sweep=long", "format=json", "out=tables", *experiment)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert outcome.status == 2, outcome.error
    assert "metrics.json cannot be written" in outcome.error
    assert file.read_text(encoding="utf-8") == "old"
    assert [*file.parent.iterdir()] == [file]


def test_it_can_be_printed(facelab: Command, sweep: RecordedSweep, experiment: tuple[str, str]) -> None:
    outcome = facelab("compare", "sweep=long", "format=csv", "out=-", "metrics=[test/accuracy]", *experiment)
    assert len(pd.read_csv(io.StringIO(outcome.out))) == 3
    outcome = facelab("compare", "sweep=long", "format=json", "out=-", *experiment)
    assert len(json.loads(outcome.out)) == 6
    assert "NaN" not in outcome.out


def test_any_runs_have_the_keys_in_which_they_differ(
    facelab: Command, sweep: RecordedSweep, experiment: tuple[str, str]
) -> None:
    ids = ",".join(run.info.run_id for run in sweep.client.search_runs([sweep.store.open()[1]], "params.model = 'cnn'"))
    outcome = facelab("compare", f"runs=[{ids}]", "format=csv", "out=-", *experiment)
    table = pd.read_csv(io.StringIO(outcome.out))
    assert {"split.seed", "seed"} <= set(table.columns)
    assert "model.lr" not in table.columns


def test_what_cannot_be_written_is_refused(facelab: Command, sweep: RecordedSweep, experiment: tuple[str, str]) -> None:
    for arguments, expected in (
        (("format=xlsx",), "format"),
        (("format=parquet", "out=-"), "parquet cannot be printed. Add format=csv or format=json"),
        (("out=-",), "a page cannot be printed"),
        (("format=csv", "out=/proc/x"), "cannot be written"),
        (("format=csv", "out=table.csv"), "out: table.csv is the name of a file, and a folder is expected"),
        (("out=table.parquet",), "Type out=<folder>"),
    ):
        outcome = facelab("compare", "sweep=long", *arguments, *experiment)
        assert outcome.status == 2, arguments
        assert expected in outcome.error, (arguments, outcome.error)
