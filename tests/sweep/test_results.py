"""What a sweep leaves at its end."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from facelab.sweep import Local, SweepSettings
from facelab.sweep.context import Context
from facelab.sweep.plan import Job, Plan
from facelab.sweep.results import print_comparison
from facelab.tracking import ServerStore, SweepRow
from tests.conftest import free_port


def _job(chosen: Sequence[str], point: Mapping[str, str]) -> Job:
    return Job(point, {"seed": 1, "model": {}, "search": {}}, {"model": "cnn"}, {})


def _context(folder: Path) -> Context:
    store = ServerStore(f"http://127.0.0.1:{free_port()}")
    return Context(Plan([], [], "command", _job), SweepSettings(), Local(), store, folder, Console(file=io.StringIO()))


def _row(name: str) -> SweepRow:
    return SweepRow("a" * 32, name, "facelab", "RUNNING", {"seed": ["1"]}, [], "command", None, None)


def test_a_store_that_fails_at_the_very_end_costs_the_comparison_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_comparison(_context(tmp_path), _row("mine"))
    error = capsys.readouterr().err
    assert error.startswith("The comparison failed: tracking.uri")
    assert error.endswith("Repeat it with: facelab compare sweep=mine\n")
