"""`facelab compare` and `facelab best` on sweeps in a real store."""

import csv
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from rich.console import Console

from facelab.compare.report import report
from facelab.compare.search import importances
from facelab.compare.shown import shown_estimate
from facelab.compare.statistics import holm
from facelab.compare.table import Study, comparisons, estimate_of, study_of_sweep
from facelab.tracking import RunFiles, ServerStore, SqliteStore, children, histories
from tests.compare.store import RecordedSweep
from tests.conftest import Command, free_port, server

Begin = Callable[..., RecordedSweep]
FAMILIES = {"model": ["cnn", "gan"], "seed": ["1", "2", "3"]}
VALUES = {"cnn": (0.97, 0.95, 0.99), "gan": (0.9, 0.91, 0.89)}


@pytest.fixture
def begin(store_folder: Path, experiment: tuple[str, str], tmp_path: Path) -> Begin:
    """Begins a sweep in this test's experiment, whose runs keep their files in tmp_path/runs."""

    def call(name: str, axes: dict[str, list[str]], search: dict[str, object] | None = None) -> RecordedSweep:
        store = SqliteStore(str(store_folder), experiment[1].partition("=")[2].strip("'"))
        return RecordedSweep(store, tmp_path / "runs", name, axes, search)

    return call


def _families(begin: Begin) -> RecordedSweep:
    sweep = begin("families", FAMILIES)
    for model, values in VALUES.items():
        for seed, value in zip("123", values, strict=True):
            curve = {"val/f1": [(1280 * step, value * step / 4) for step in range(1, 5)]}
            metrics = {"test/accuracy": value, "test/f1": value - 0.01}
            sweep.child({"model": model, "seed": seed}, metrics, curve=curve)
    return sweep


def _study(sweep: RecordedSweep) -> Study:
    return study_of_sweep(sweep.row, children(sweep.store, sweep.row.id), None)


class _Page(HTMLParser):
    """Gathers what a page shows and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.references, self.tags = "", list[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_groups_are_points_of_all_axes_but_replicates(begin: Begin) -> None:
    study = _study(_families(begin))
    assert [dict(group.point) for group in study.groups] == [{"model": "cnn"}, {"model": "gan"}]
    assert study.replicates == ["seed"]
    assert study.metrics[:2] == ["test/accuracy", "test/f1"]
    found = estimate_of(study.groups[0], "test/accuracy")
    assert shown_estimate(study.metric("test/accuracy"), found) == "97.0 ± 5.0% (3)"  # sd 0.02, t 4.303, by hand
    (compared,) = comparisons(study)
    assert (compared.first, compared.second) == ("cnn", "gan")
    assert compared.difference.estimate.mean == pytest.approx(0.07)


def test_only_finished_runs_that_were_not_replaced_count(begin: Begin) -> None:
    sweep = begin("families", FAMILIES)
    point = {"model": "cnn", "seed": "1"}
    sweep.child(point, {"test/accuracy": 0.5}, superseded_by="f" * 32)
    sweep.child(point, {"test/accuracy": 0.6})
    newest = sweep.child(point, {"test/accuracy": 0.9})
    sweep.child({"model": "cnn", "seed": "2"}, {"test/accuracy": 0.1}, "FAILED", reason="the loss became NaN")
    sweep.child({"model": "gan", "seed": "1"}, {}, "RUNNING")
    sweep.child({"model": "gan", "seed": "2"}, {"test/accuracy": math.nan})
    sweep.child({"model": "gan", "seed": "3"}, {"test/accuracy": math.inf})
    study = _study(sweep)
    assert [run.id for run in study.groups[0].runs] == [newest]
    assert estimate_of(study.groups[1], "test/accuracy") is None, "neither NaN nor infinity is a value"
    found = [(remark.status, remark.name) for remark in study.remarks]
    assert found == [
        ("superseded", "cnn · 1"),
        ("repeated", "cnn · 1"),
        ("FAILED", "cnn · 2"),
        ("RUNNING", "gan · 1"),
        ("missing", "cnn · seed=3"),
    ]
    assert "NaN" in study.remarks[2].reason


def test_runs_of_an_older_commit_are_named(begin: Begin) -> None:
    sweep = begin("old", {"seed": ["1", "2"]})
    old = sweep.child({"seed": "1"}, {"test/accuracy": 0.9}, commit="0" * 40)
    sweep.child({"seed": "2"}, {"test/accuracy": 0.9}, commit="1" * 40)
    study = _study(sweep)
    assert len(study.groups) == 1, "only replicates: one row"
    assert [(remark.id, remark.status) for remark in study.remarks] == [(old, "older")]
    assert study.commits == {"0" * 40: 1, "1" * 40: 1}


def test_many_groups_are_compared_with_the_best(begin: Begin) -> None:
    sweep = begin("many", {"split.train_per_identity": [str(k) for k in range(1, 8)], "seed": ["1", "2"]})
    for k in range(1, 8):
        for seed in (1, 2):
            point = {"split.train_per_identity": str(k), "seed": str(seed)}
            sweep.child(point, {"val/loss": abs(k - 5) + 0.1 * seed * k})
    study = _study(sweep)
    compared = comparisons(study)
    assert len(compared) == 6
    assert {one.first for one in compared} == {"k=5"}, "the lowest loss"
    raw = [one.difference.p for one in compared]
    assert [one.p for one in compared] == holm(raw, 7 * 6 // 2), "all 21 pairs, of which the best was chosen"


def test_reading_by_sql_is_what_mlflow_reads(begin: Begin, client: MlflowClient) -> None:
    sweep = _families(begin)
    odd = sweep.child({"model": "gan", "seed": "9"}, {"a": math.nan, "b": math.inf}, "KILLED", reason="Ctrl-C", trial=4)
    client.set_tag(odd, "needs.generator", "f" * 32)
    client.set_tag(odd, "needs.generator.config_hash", "0" * 64)
    rows = children(sweep.store, sweep.row.id)
    found = client.search_runs([sweep.store.open()[1]], f"tags.`mlflow.parentRunId` = '{sweep.row.id}'")
    by_id = {run.info.run_id: run for run in found}
    assert [row.id for row in rows] == [
        run.info.run_id for run in sorted(found, key=lambda run: int(run.info.start_time))
    ]
    for row in rows:
        run = by_id[row.id]
        assert (row.name, row.status) == (run.info.run_name, run.info.status)
        assert repr(sorted(row.metrics.items())) == repr(sorted(run.data.metrics.items()))
        assert row.seconds == pytest.approx((run.info.end_time - run.info.start_time) / 1000)
        assert row.commit == run.data.tags["mlflow.source.git.commit"]
    assert (rows[-1].id, rows[-1].trial, rows[-1].reason) == (odd, 4, "Ctrl-C")
    assert (rows[-1].generator, rows[-1].needs) == ("f" * 32, {"generator": "0" * 64})
    curves = histories(sweep.store, [row.id for row in rows], "val/f1")
    assert set(curves) == {row.id for row in rows} - {odd}
    for run_id, curve in curves.items():
        points = client.get_metric_history(run_id, "val/f1")
        assert curve == sorted((point.step, point.value) for point in points)


@pytest.mark.slow
def test_a_server_gives_the_same(tmp_path: Path) -> None:
    port = free_port()
    with server(tmp_path, port):
        sweep = RecordedSweep(ServerStore(f"http://127.0.0.1:{port}"), tmp_path / "runs", "far", FAMILIES)
        run_id = sweep.child({"model": "cnn", "seed": "1"}, {"test/accuracy": 0.9}, curve={"val/f1": [(1, 0.5)]})
        for step, shade in ((0, 10), (12, 200), (3, 90)):
            grey = np.full((8, 8, 3), shade, np.uint8)
            sweep.client.log_image(run_id, grey, key="samples", step=step, synchronous=True)
        console = Console(file=StringIO())
        page = report(sweep.store, sweep.row, tmp_path / "runs", console)
        (row,) = children(sweep.store, sweep.row.id)
        curves = histories(sweep.store, [run_id], "val/f1")
        newest = RunFiles(sweep.store).images(run_id, ["samples", "confusion_matrix"])
        kept = {item.path for item in sweep.client.list_artifacts(sweep.row.id)}
    assert row.metrics["test/accuracy"] == 0.9
    assert set(row.params) <= {"seed"}
    assert curves == {run_id: [(1, 0.5)]}
    assert list(newest) == ["samples"]
    (tmp_path / "newest.png").write_bytes(newest["samples"])
    with Image.open(tmp_path / "newest.png") as image:
        assert np.asarray(image.convert("L")).mean() == 200
    assert {"comparison.csv", "comparison.md", "comparison.html"} <= kept
    assert "Generated faces" in _Page(page.read_text(encoding="utf-8")).words


def test_compare_writes_all_and_keeps_it(
    facelab: Command, begin: Begin, experiment: tuple[str, str], tmp_path: Path, client: MlflowClient
) -> None:
    sweep = _families(begin)
    sweep.child({"model": "gan", "seed": "3"}, {}, "FAILED", reason="<b>out</b> of memory | twice")
    best = _study(sweep).ranked[0]
    folder = tmp_path / "runs" / best.id
    folder.mkdir(parents=True)
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(folder / "confusion_matrix.png")
    outcome = facelab("compare", "sweep=families", *experiment)
    assert outcome.status == 0, outcome.error
    assert "97.0" in outcome.out
    assert "out</b> of memory" in outcome.out
    own = tmp_path / "runs" / sweep.row.id
    assert str(own / "comparison.html") in outcome.out

    rows = list(csv.DictReader((own / "comparison.csv").open(encoding="utf-8")))
    assert len(rows) == 7
    assert {(row["model"], row["seed"], float(row["test/accuracy"])) for row in rows if row["counts"] == "true"} == {
        (model, seed, value) for model, values in VALUES.items() for seed, value in zip("123", values, strict=True)
    }
    markdown = (own / "comparison.md").read_text(encoding="utf-8")
    assert "| cnn | 97.0 ± 5.0% (3) |" in markdown
    assert sweep.row.command in markdown
    assert "aaaaaaaaaaaa" in markdown
    assert len({line.count("|") - line.count("\\|") for line in markdown.splitlines() if "memory" in line}) == 1

    page = _Page((own / "comparison.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "b" not in page.tags, "text of a run is no markup"
    assert page.references
    assert all(reference.startswith("data:image/") for reference in page.references), "nothing beside it"
    assert re.search(r"97\.0 ± 5\.0% \(3\)", page.words)
    assert "Learning curves" in page.words
    assert "Confusion matrix" in page.words
    assert best.id in page.words

    kept = {item.path for item in client.list_artifacts(sweep.row.id)}
    assert {"comparison.csv", "comparison.md", "comparison.html"} <= kept


def test_a_search_has_its_own_part(facelab: Command, begin: Begin, experiment: tuple[str, str], tmp_path: Path) -> None:
    facts: dict[str, object] = {"metric": "val/loss", "direction": "minimize", "sampler": "tpe", "trials": 30}
    axes = {"model.optimizer.lr": ["interval(1e-4,1e-1)"], "augment": ["light,strong"], "seed": ["1,2"]}
    sweep = begin("tuning", axes, facts)
    rng = np.random.default_rng(0)
    for trial in range(24):
        lr = 10 ** rng.uniform(-4, -1)
        point = {"model.optimizer.lr": repr(lr), "augment": ("light", "strong")[trial % 2], "seed": str(trial % 2 + 1)}
        loss = (math.log10(lr) + 2.5) ** 2 + 0.001 * rng.normal()
        sweep.child(point, {"test/accuracy": 0.9}, curve={"val/loss": [(1, 5.0), (2, loss)]}, trial=trial)
    study = _study(sweep)
    assert study.metrics == ["val/loss", "test/accuracy"]
    assert [study.metric(name).name for name in study.metrics] == study.metrics, "axes of charts are called so"
    assert len(study.groups) == 24, "each trial by itself"
    losses = [run.metrics["val/loss"] for run in study.counted]
    assert losses == sorted(losses)
    shares = importances(study)
    assert next(iter(shares)) == "model.optimizer.lr"
    assert sum(shares.values()) == pytest.approx(1)
    assert [(remark.status, remark.name) for remark in study.remarks] == [("missing", "6 of 30 trials")]
    outcome = facelab("compare", f"sweep={sweep.row.id}", "out=elsewhere", *experiment)
    assert outcome.status == 0, outcome.error
    words = _Page((tmp_path / "elsewhere" / "comparison.html").read_text(encoding="utf-8")).words
    for part in ("Optimisation history", "Importance", "Parallel coordinates", "Learning curves"):
        assert part in words
    outcome = facelab("best", "sweep=tuning", *experiment)
    assert study.counted[0].id in outcome.out
    assert "lowest val/loss" in outcome.out


def test_best(facelab: Command, begin: Begin, experiment: tuple[str, str]) -> None:
    sweep = _families(begin)
    runs = {(run.point["model"], run.point["seed"]): run.id for run in _study(sweep).counted}
    outcome = facelab("best", "sweep=families", "metric=val/f1", *experiment)
    assert outcome.status == 0, outcome.error
    assert runs["cnn", "3"] in outcome.out
    assert "99.0%" in outcome.out
    assert "The best mean over seed: cnn with 97.0 ± 5.0% (3)" in outcome.out
    outcome = facelab("best", "sweep=families", "metric=val/f1", "direction=minimize", *experiment)
    assert runs["gan", "3"] in outcome.out


def test_any_runs(facelab: Command, begin: Begin, experiment: tuple[str, str], tmp_path: Path) -> None:
    sweep = begin("one", {"model": ["cnn"]})
    first = sweep.child({"model": "cnn"}, {"test/accuracy": 0.9}, params={"model.lr": "0.1", "trainer.threads": "1"})
    second = sweep.child({"model": "cnn"}, {}, "FAILED", params={"model.lr": "0.2", "trainer.threads": "1"}, reason="x")
    outcome = facelab("compare", f"runs=[{first},{second}]", *experiment)
    assert outcome.status == 0, outcome.error
    rows = list(csv.DictReader((tmp_path / "comparison" / "comparison.csv").open(encoding="utf-8")))
    assert [(row["id"], row["model.lr"]) for row in rows] == [(first, "0.1"), (second, "0.2")]
    assert "trainer.threads" not in rows[0]
    assert "failed" in outcome.out


def test_nothing_has_finished(facelab: Command, begin: Begin, experiment: tuple[str, str], tmp_path: Path) -> None:
    sweep = begin("unlucky", {"seed": ["1"]})
    run_id = sweep.child({"seed": "1"}, {}, "FAILED", reason="the disk is full")
    for command in ("compare", "best"):
        outcome = facelab(command, "sweep=unlucky", *experiment)
        assert outcome.status == 2
        assert "none of its runs has finished yet (1 failed)" in outcome.error
        assert f"({run_id}): the disk is full" in outcome.out
    page = report(sweep.store, sweep.row, tmp_path / "runs", Console(file=StringIO()))
    assert "the disk is full" in _Page(page.read_text(encoding="utf-8")).words


def test_errors_name_what_does_not_exist(facelab: Command, begin: Begin, experiment: tuple[str, str]) -> None:
    sweep = _families(begin)
    elsewhere = (experiment[0], "tracking.experiment=elsewhere")
    assert "there are no sweeps in" in facelab("compare", "sweep=familie", *elsewhere).error
    run_id = _study(sweep).counted[0].id
    for arguments, expected in (
        (("compare", "sweep=familie"), "Did you mean 'families'? The newest: families."),
        (("compare", f"sweep={run_id}"), "there is no such sweep"),
        (("best", "sweep=familie"), "Did you mean 'families'?"),
        (("compare", "sweep=families", "metrics=[test/acuracy]"), "Nearest: test/accuracy"),
        (("best", "sweep=families", "metric=val/f2"), "Nearest: val/f1"),
        (("compare",), "sweep=<name or run id> and runs="),
        (("compare", "sweep=families", f"runs=[{run_id}]"), "sweep=<name or run id> and runs="),
        (("compare", f"runs=[{run_id},abc,def]"), "no run abc, def"),
        (("compare", "runs=[]"), "the list is empty"),
        (("compare", "sweep=families", "metrics=[]"), "the list is empty"),
        (("compare", "sweep=families", "out=/proc/x"), "out: /proc/x cannot be written"),
    ):
        outcome = facelab(*arguments, *experiment)
        assert outcome.status == 2, arguments
        assert expected in outcome.error, (arguments, outcome.error)
        assert "Traceback" not in outcome.error


def test_a_name_with_quotes_is_found(begin: Begin) -> None:
    sweep = begin("o'clock", {"seed": ["1"]})
    sweep.child({"seed": "1"}, {"test/accuracy": 1.0})
    assert len(children(sweep.store, sweep.row.id)) == 1


@pytest.mark.slow
def test_a_thousand_children_in_one_page(tmp_path: Path) -> None:
    """Prints how long the whole command takes; pytest -s shows it."""
    seeds = [str(seed) for seed in range(250)]
    store = SqliteStore(str(tmp_path), "facelab")
    recorded = RecordedSweep(store, tmp_path / "runs", "many", {"model": ["a", "b", "c", "d"], "seed": seeds})
    params = {f"section.key_{number}": "value" for number in range(110)}
    further = {f"section/metric_{number}": float(number) for number in range(58)}
    for place, model in enumerate("abcd"):
        for seed in seeds:
            accuracy = 0.5 + 0.1 * place + 0.0001 * int(seed)
            rising = [(100 * step, accuracy * step / 20) for step in range(1, 21)]
            metrics = {"test/accuracy": accuracy, "test/f1": accuracy, **further}
            curve = {"val/f1": rising, "val/accuracy": rising}
            recorded.child({"model": model, "seed": seed}, metrics, curve=curve, params=params)
    begun = time.monotonic()
    command = [sys.executable, "-c", "from facelab.cli import main; raise SystemExit(main())", "compare", "sweep=many"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    print(f"facelab compare of 1,000 children: {time.monotonic() - begun:.1f} s")
    assert done.returncode == 0, done.stderr
    assert "1000 runs: 1000 finished" in done.stdout
    table = (tmp_path / "runs" / recorded.row.id / "comparison.md").read_text()
    for place, model in enumerate("abcd"):
        assert f"| {model} | {100 * (0.5 + 0.1 * place + 0.0001 * 124.5):.1f} ± " in table
