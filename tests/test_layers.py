"""Imports point one way."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "facelab"
ENTRY_POINTS = {"cli"}
# The process of a sweep's job, and what it is forked from: entry points too, beside what starts them.
JOB = {SOURCE / "sweep" / "worker.py", SOURCE / "sweep" / "preload.py"}
# What a part of the house may import of the others; `errors` may be imported by all.
ALLOWED = {
    "errors": set(),
    "compose": {"config", "judge", "models", "data", "needs", "run"},
    "begin": {"config", "data", "resume", "tracking", "trainer"},
    "sweep": {"begin", "compare", "config", "interrupt", "needs", "resume", "tracking"},
    "compare": {"config", "pictures", "tracking"},
    "config": set(),
    "nets": set(),
    "losses": set(),
    "metrics": set(),
    "recipe": set(),
    "data": set(),
    "tracking": set(),
    "launch": set(),
    "interrupt": set(),
    "checkpoint": set(),
    "pictures": set(),
    "trainer": {"checkpoint"},
    "models": {"nets", "losses", "metrics", "recipe"},
    "protocols": {"metrics", "data", "pictures"},
    "trained": {"config", "models"},
    "gather": {"models"},
    "judge": {"data", "gather", "models", "protocols", "trained"},
    "callbacks": {"models", "metrics", "gather", "checkpoint", "interrupt"},
    "summary": {"protocols", "tracking"},
    "record": {"data", "models", "pictures", "protocols", "tracking", "trained"},
    "generate": {"config", "models", "pictures", "trained"},
    "needs": {"tracking", "trained"},
    "resume": {"checkpoint", "config", "tracking"},
    "runs": {"config", "tracking"},
    "ui": {"config", "tracking"},
}
TORCH_ONLY = {"nets", "losses", "metrics"}


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


def _part(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    part, imports = _part(path), _imports(path)
    ours = {name.split(".")[1] for name in imports if name.startswith("facelab.")} - {part, "errors"}
    if part in ENTRY_POINTS | {"run"} or path in JOB:
        assert part == "cli" or "cli" not in ours
    else:
        assert ours <= ALLOWED[part], f"{part} imports {ours - ALLOWED[part]}"
    if part in TORCH_ONLY:
        outside = {name.split(".")[0] for name in imports} - {"facelab", "torch", "torchmetrics"}
        assert outside <= {"collections", "itertools", "math", "typing", "dataclasses"}, f"{part} imports {outside}"
    if part != "tracking":
        assert not any(name.split(".")[0] == "mlflow" for name in imports), "only tracking imports mlflow"
    if path != SOURCE / "data" / "augment.py":
        assert not any(name.split(".")[0] == "albumentations" for name in imports)


def test_every_part_is_named() -> None:
    assert {_part(path) for path in FILES} <= set(ALLOWED) | ENTRY_POINTS | {"run"}
