"""What a run records of the code that made it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from facelab.tracking import environment
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _looked_up_again() -> Iterator[None]:
    environment.git_state.cache_clear()
    yield
    environment.git_state.cache_clear()


def _git(folder: Path, *arguments: str) -> str:
    named = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    done = subprocess.run(["git", "-C", str(folder), *named, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_outside_git_the_commit_is_that_of_facelab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert environment.commit_of_now() == _git(ROOT, "rev-parse", "HEAD")


def test_in_a_checkout_the_commit_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "empty")
    monkeypatch.chdir(tmp_path)
    assert environment.commit_of_now() == _git(tmp_path, "rev-parse", "HEAD")
    assert environment.git_state()["git.dirty"] == "false"
    (tmp_path / "new.py").touch()
    environment.git_state.cache_clear()
    assert environment.git_state()["git.dirty"] == "true"
