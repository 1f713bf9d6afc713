"""What a sweep leaves at its end."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from facelab.sweep import Local, SweepSettings
from facelab.sweep.context import Context
from facelab.sweep.plan import Job, Plan
from facelab.sweep.results import print_comparison, write_best
from facelab.tracking import ServerStore, SweepRow
from tests.conftest import free_port


def _job(chosen: Sequence[str], point: Mapping[str, str]) -> Job:
    return Job(point, {"seed": 1, "model": {}, "search": {}}, {"model": "cnn"}, {})


def _context(folder: Path) -> Context:
    store = ServerStore(f"http://127.0.0.1:{free_port()}")
    axes = OverridesParser.create().parse_overrides(["model.optimizer.lr=0.1,0.2", "+tri/arm=x,y"])
    plan = Plan(axes, [], "command", _job)
    return Context(plan, SweepSettings(), Local(), store, folder, Console(file=io.StringIO(), width=200))


def _row(name: str) -> SweepRow:
    return SweepRow("a" * 32, name, "facelab", "RUNNING", {"seed": ["1"]}, [], "command", None, None)


def test_a_store_that_fails_at_the_very_end_costs_the_comparison_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_comparison(_context(tmp_path), _row("mine"))
    error = capsys.readouterr().err
    assert error.startswith("The comparison failed: tracking.uri")
    assert error.endswith("Repeat it with: facelab compare sweep=mine\n")


def test_a_folder_that_cannot_be_written_costs_the_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    context = _context(tmp_path)
    best = (3, 0.5, {"model.optimizer.lr": "0.1", "tri/arm": "x"})
    write_best(context, _row("mine"), "val/f1", best)
    text = (tmp_path / "experiments" / "mine" / "best.yaml").read_text()
    assert "\n- /tri/arm: x\n" in text
    assert "lr: 0.1\n" in text
    (tmp_path / "experiments" / "yours").touch()
    write_best(context, _row("yours"), "val/f1", best)
    assert "experiments/yours/best.yaml cannot be written" in capsys.readouterr().err
    assert isinstance(context.console.file, io.StringIO)
    first, second = [line for line in context.console.file.getvalue().splitlines() if line.startswith("Train it")]
    assert first.endswith("+mine=best   (experiments/mine/best.yaml)")
    assert second.endswith(" model.optimizer.lr=0.1 +tri/arm=x")
