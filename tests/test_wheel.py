"""What is installed without the checkout works in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY_CNN

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that sees the wheel's files before the checkout's."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return {**os.environ, "PYTHONPATH": str(site), "SITE": str(site)}


def _facelab(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    program = (
        "import os, sys, facelab; from facelab.cli import main; "
        "assert facelab.__file__.startswith(os.environ['SITE']), facelab.__file__; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_configs_and_experiments(installed: dict[str, str], tmp_path: Path) -> None:
    text = _facelab(installed, tmp_path, "train", "--help")
    assert "gan, gan_conditional, gan_transfer, iresnet100" in text
    assert "few_shot: study, sweep" in text
    assert "families: sweep" in text


@pytest.mark.slow
def test_the_wheel_trains(installed: dict[str, str], tmp_path: Path) -> None:
    assert "F1 (macro)" in _facelab(installed, tmp_path, "train", *TINY_CNN)
    assert (tmp_path / "mlflow.db").is_file()
