"""Environment of a run: commit, packages and hardware."""

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

import psutil
import torch

from facelab.system import cores

_NAMED = ("torch", "pytorch-lightning", "hydra-core", "mlflow", "torchmetrics", "albumentations", "numpy")


@functools.cache  # the state at the start of the process, which is the code that runs
def git_state() -> dict[str, str]:
    """Tags for the commit of the running code, and whether files differ from it; empty outside git.

    It is the checkout of the current folder, which may hold models and experiments of the user, or else facelab's own.
    """
    return _state_of(Path.cwd()) or _state_of(Path(__file__).parent)


def _state_of(folder: Path) -> dict[str, str]:

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if not commit:
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(git("status", "--porcelain"))).lower()}


def commit_of_now() -> str:
    """The commit of the running code; empty outside git."""
    return git_state().get("mlflow.source.git.commit", "")


@functools.cache
def hardware() -> dict[str, str]:
    """Tags for processor, memory and accelerators."""
    tags = {
        "hardware.cpu": _processor(),
        "hardware.cores": str(cores()),
        "hardware.memory_gib": f"{psutil.virtual_memory().total / 2**30:.0f}",
        "hardware.os": platform.platform(terse=True),
    }
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        tags["hardware.gpu"] = ", ".join(names)
    return tags


@functools.cache
def versions() -> dict[str, str]:
    """Tags for the versions of Python, facelab and the main packages."""
    named = {f"version.{name}": importlib.metadata.version(name) for name in ("facelab", *_NAMED)}
    return {"version.python": platform.python_version(), **named}


def packages() -> str:
    """All installed packages, one per line, as in `pip freeze`."""
    found = {f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
