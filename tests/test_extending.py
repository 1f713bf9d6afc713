"""The examples of docs/extending.md, taken from the page, work as they stand there."""

import inspect
import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY, Command
from tests.data.made import make_folder

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", PAGE, flags=re.DOTALL))
COMMANDS = re.findall(r"^facelab (train .*)$", PAGE, flags=re.MULTILINE)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every file of the page."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FACELAB_ALLOW", "my_faces")
    return tmp_path


def test_the_page_has_all_its_examples() -> None:
    assert len(FILES) == 11
    assert len(COMMANDS) == 5


def test_the_tests_of_the_page_pass(mine: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    tests = [test for name in FILES if "/tests/" in name for test in _tests_of(mine / name)]
    assert len(tests) == 4
    for test in tests:
        test(*(tmp_path_factory.mktemp(name) for name in inspect.signature(test).parameters if name == "tmp_path"))


def _tests_of(path: Path) -> list[Callable[..., None]]:
    return [value for name, value in runpy.run_path(str(path)).items() if name.startswith("test_")]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_trains(facelab: Command, mine: Path, command: str) -> None:
    for path in make_folder(mine / "made", people=4, pictures=6).glob("*/*.png"):
        (mine / "faces").mkdir(exist_ok=True)
        path.rename(mine / "faces" / f"{path.parent.name}_{path.stem}.png")
    small = [key for key in TINY if "data=flat" not in command or "_person" not in key]
    outcome = facelab(*shlex.split(command), *small, "model.recipe.batch_size=16", "model.recipe.max_images=32")
    assert outcome.status == 0, outcome.error
    if "ranks" in command:
        assert "identification" in outcome.out
