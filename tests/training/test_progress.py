"""How far an evaluation has come, as text."""

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from facelab.training.callbacks import progress
from facelab.training.callbacks.progress import ProgressBar


def _shown(console: Console, sizes: list[int]) -> str:
    bar, module = ProgressBar(console, total_images=100), SimpleNamespace()
    loader = SimpleNamespace(batch_sampler=SimpleNamespace(sampler=range(sum(sizes))))
    trainer: Any = SimpleNamespace(predict_dataloaders=loader)
    bar.on_predict_start(trainer, module)  # type: ignore[arg-type]
    for size in sizes:
        bar.on_predict_batch_end(trainer, module, None, {"index": torch.arange(size)}, 0)  # type: ignore[arg-type]
    bar.on_predict_end(trainer, module)  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_tell_images_and_time_left_where_output_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_EMBEDDING_REPORT_S", 0.0)
    lines = _shown(Console(file=io.StringIO()), [256, 256, 188]).splitlines()
    assert [re.findall(r"\d+ of 700", line) for line in lines] == [[f"{n} of 700"] for n in (256, 512, 700)]
    assert all(re.search(r"ETA \d+ s", line) for line in lines)


def test_a_short_evaluation_says_nothing() -> None:
    assert _shown(Console(file=io.StringIO()), [20]) == ""


def test_a_terminal_gets_a_bar() -> None:
    shown = _shown(Console(file=io.StringIO(), force_terminal=True, width=100), [12, 8])
    assert "20/20" in shown
    assert "ETA" in shown
