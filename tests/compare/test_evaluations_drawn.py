"""ROC curves and accuracies by class, drawn from what runs have recorded."""

import csv
import re
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch

from facelab.compare.figures import Dots, dots
from facelab.compare.people import PerClass, per_class, per_class_accuracy
from facelab.compare.recorded import Recorded
from facelab.compare.roc import RocBand, roc_band, roc_curves, tar_at
from facelab.compare.table import Group, study_of_sweep
from facelab.metrics import Metric
from facelab.metrics.verification import roc, tar_at_far
from facelab.protocols import plots
from facelab.protocols.operating_points import FARS
from facelab.protocols.roc_rows import roc_rows
from facelab.tracking import SqliteStore, children
from tests.compare.store import RecordedSweep

SHARE = Metric("test/accuracy", "accuracy", True, "share")


def _write(file: Path, rows: list[list[object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)


@pytest.fixture
def group(store_folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Group, Recorded]:
    """Two runs of one setting."""
    store = SqliteStore(str(store_folder), "drawn")
    sweep = RecordedSweep(store, tmp_path, request.node.name, {"seed": ["1", "2"]})
    for seed in "12":
        sweep.child({"seed": seed}, {"test/accuracy": 0.5, "verification/auc": 0.9})
    study = study_of_sweep(sweep.row, children(store, sweep.row.id), None)
    return study.groups[0], Recorded(store, tmp_path)


@pytest.mark.parametrize("pairs", [40, 20_000])
def test_the_recorded_points_of_a_curve_give_its_tars(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    curve = roc(torch.from_numpy(rng.normal(1, 1, pairs)), torch.from_numpy(rng.normal(0, 1, pairs)))
    rows = roc_rows(curve)
    assert rows[0] == ["far", "tar", "threshold"]
    assert len(rows) <= 410
    far, tar, threshold = np.array(rows[1:], dtype=np.float64).T
    assert (far[0], far[-1], tar[-1]) == (0, 1, 1)
    assert (np.diff(threshold) < 0).all()
    read = tar_at(np.array(FARS), far, tar)
    assert read == pytest.approx([tar_at_far(curve, rate) for rate in FARS])
    everywhere = np.linspace(0.01, 1, 77)
    exact = np.array([tar_at_far(curve, float(rate)) for rate in everywhere])
    found = tar_at(everywhere, far, tar)
    assert (found <= exact + 1e-12).all(), "nowhere too high"
    assert found == pytest.approx(exact, abs=0.05)


def test_curves_of_a_setting_come_from_its_runs(group: tuple[Group, Recorded], tmp_path: Path) -> None:
    runs, recorded = group
    assert roc_band(*group) is None, "older runs have no such file"
    for run, tar in zip(runs.runs, (0.5, 0.7), strict=True):
        _write(tmp_path / run.id / "roc.csv", [["far", "tar", "threshold"], [0, 0, "inf"], [0.1, tar, 1], [1, 1, -1]])
    band = roc_band(runs, recorded)
    assert band is not None
    assert band.auc == pytest.approx(0.9)
    values = [float(tar_at(np.array([0.5]), far, tar)[0]) for far, tar in band.curves]
    assert values == [0.5, 0.7]
    assert "AUC 0.900, 2 runs" in _words(roc_curves([band]))


def test_images_are_counted_by_class_over_the_runs_of_a_setting(group: tuple[Group, Recorded], tmp_path: Path) -> None:
    runs, recorded = group
    assert per_class(*group) is None
    given = (["a a", "a b", "b b"], ["a a", "a a", "b a"])
    for run, rows in zip(runs.runs, given, strict=True):
        _write(
            tmp_path / run.id / "predictions.csv",
            [["picture", "label", "predicted"], *([0, *row.split()] for row in rows)],
        )
    found = per_class(runs, recorded)
    assert found is not None
    assert (found.runs, found.right, found.total) == (2, {"a": 3, "b": 1}, {"a": 4, "b": 2})
    words = _words(per_class_accuracy([found]))
    assert "mean 62.5%" in words  # of 75 % and 50 %
    assert words.index("b (2)") < words.index("a (4)"), "the worst first"


def test_many_classes_name_only_the_worst(group: tuple[Group, Recorded], tmp_path: Path) -> None:
    runs, recorded = group
    rows = [[0, f"p{n}", f"p{n}" if n >= 30 else "p99"] for n in range(5749)]
    _write(tmp_path / runs.runs[0].id / "predictions.csv", [["picture", "label", "predicted"], *rows])
    found = per_class(runs, recorded)
    assert found is not None
    words = _words(per_class_accuracy([found]))
    assert "all 5,749 classes" in words
    assert len(re.findall(r"p\d+ \(1\)", words)) == 20


def test_names_with_dollars_and_chinese_ones_are_drawn_as_they_are() -> None:
    """A pair of dollars begins a formula in matplotlib, and its font has no Chinese characters."""
    names = ["$\\frac$", "a^$ and $b", "\\$5 and $6"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = per_class_accuracy([PerClass("$x_$", 1, dict.fromkeys(names, 1), dict.fromkeys(names, 2))])
        assert all(f"{name} (2)" in _words(text) for name in names)
        assert "$x_$, mean 50.0%" in _words(text)
        chinese = per_class_accuracy([PerClass("cnn", 1, {"王": 1}, {"王": 2})])
        assert plots.face_grid(np.zeros((1, 8, 8, 1), np.uint8), ["王 $\\frac$"], title="$^$").std()
    assert ">王 (2)</text>" in chinese


def test_the_numbers_of_a_logarithmic_axis_stay_powers_of_ten() -> None:
    text = roc_curves([RocBand("cnn", 0.9, [(np.array([0.0, 1e-3, 1.0]), np.array([0.0, 0.5, 1.0]))])])
    assert "$\\mathdefault{10^{-2}}$" in _words(text)


def test_every_interval_is_within_the_frame() -> None:
    rows = [Dots("wide", [0.45, 0.55], 0.0, 1.0), Dots("narrow", [0.59, 0.61], 0.58, 0.62)]
    for metric in (SHARE, Metric("val/loss", "loss", False)):
        frame, whiskers = _geometry(dots(rows, metric))
        assert len(whiskers) == 2
        for low, high in whiskers:
            assert frame[0] < low < high < frame[1]


def _words(svg: str) -> str:
    """The comments in which matplotlib writes each text that it draws as glyphs."""
    return " | ".join(re.findall(r"<!-- (.*?) -->", svg))


def _geometry(svg: str) -> tuple[tuple[float, float], list[tuple[float, float]]]:
    """Left and right end of the frame, and those of each whisker."""
    space = "{http://www.w3.org/2000/svg}"
    axes = next(node for node in ElementTree.fromstring(svg).iter(f"{space}g") if node.get("id") == "axes_1")
    spans = {
        node.get("id", ""): [float(x) for x in re.findall(r"[ML] (\S+)", node.find(f"{space}path").get("d", ""))]  # type: ignore[union-attr]
        for node in axes
        if node.find(f"{space}path") is not None
    }
    frame = spans["patch_2"]
    lines = [xs for name, xs in spans.items() if name.startswith("line2d") and len(xs) == 2 and xs[0] != xs[1]]
    whiskers = [(min(xs), max(xs)) for xs in lines]
    return (min(frame), max(frame)), whiskers
