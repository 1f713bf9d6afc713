"""The rooms of the package, and imports that run one way through them."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "facelab"
# Imports run down this list only.
ROOMS = (
    "cli",
    "commands",
    "demo",
    "sweep",
    "studies",
    "runs",
    "galleries",
    "training",
    "checking",
    "compare",
    "protocols",
    "synthetic",
    "exporting",
    "models",
    "tracking",
    "data",
    "config",
    "nets",
    "losses",
    "metrics",
    "system",
    "errors",
)
TORCH_ONLY = {"nets", "losses", "metrics"}
STANDARD = {"abc", "collections", "dataclasses", "functools", "importlib", "itertools", "json", "math", "typing"}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                f"{node.module}.{alias.name}" if node.module == "facelab" else node.module for alias in node.names
            }
    return found


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    room, imports = _room(path), _imports(path)
    ours = {name.split(".")[1] for name in imports if name.startswith("facelab.")} - {room}
    below = set(ROOMS[ROOMS.index(room) + 1 :])
    assert ours <= below, f"{room} imports {sorted(ours - below)}, which are above it"
    packages = {name.split(".")[0] for name in imports}
    if room in TORCH_ONLY:
        assert packages <= {"facelab", "torch", "torchmetrics", *STANDARD}
    assert room == "tracking" or "mlflow" not in packages, "only tracking imports mlflow"
    assert room == "data" or "albumentations" not in packages, "only data imports albumentations"


def test_every_room_is_in_the_list() -> None:
    assert {_room(path) for path in FILES} == set(ROOMS)


def test_few_files_lie_loose() -> None:
    assert len(list(SOURCE.glob("*.py"))) <= 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_file_crosses_into_the_private_names_of_another_room(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("facelab."):
            private = [alias.name for alias in node.names if alias.name.startswith("_")]
            assert not private, f"{node.module} is asked for {private}"
