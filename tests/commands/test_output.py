"""Commands whose output is closed, cut or cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facelab import cli
from tests.conftest import TINY_CNN

PROGRAM = f"{sys.executable} -c 'from facelab.cli import main; raise SystemExit(main())'"
COMMANDS = ("train", "check", "evaluate", "generate", "demo", "align", "compare", "best", "runs", "sync", "ui")


def _bash(script: str) -> subprocess.CompletedProcess[str]:
    function = f'facelab() {{ {PROGRAM} "$@"; }}\nset -o pipefail\n'
    return subprocess.run(["bash", "-c", function + script], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "line", ["--help", "--version", *(f"{name} --help" for name in COMMANDS), "train --cfg job", "ui --info searchpath"]
)
def test_a_reader_may_leave_before_the_end(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert cli.main(line.split()) == 141
        assert sys.stdout is pipe


def test_a_wrong_command_keeps_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        assert cli.main(["tran"]) == 2


def test_in_a_shell() -> None:
    done = _bash(
        "facelab --help | head -1; echo $?; facelab --help >&- 2>&-; echo $?; facelab --help >/dev/full; echo $?"
    )
    assert done.stdout.startswith("facelab: ")
    assert done.stdout.split()[-2:] == ["0", "1"]
    assert done.stderr.startswith("Error: the output cannot be written")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_training_goes_on_without_its_reader(tmp_path: Path) -> None:
    arguments = " ".join(f"'{word}'" for word in TINY_CNN)
    done = _bash(f"cd {tmp_path}; facelab train {arguments} | head -1; echo $?")
    assert done.stdout.split()[-1] == "141"
    assert "Traceback" not in done.stderr
    assert len(list(tmp_path.glob("runs/*/model.safetensors"))) == 1
