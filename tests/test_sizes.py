"""Files, functions and signatures stay small enough to be taken in at a glance."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "facelab"
FILES = sorted(SOURCE.rglob("*.py"))
LINES_OF_A_FILE, LINES_OF_A_FUNCTION, PARAMETERS = 350, 40, 8
# One number more than the autoencoder it extends, and the arguments of models.Transfer, which users type as
# model.init_from and model.freeze.
LONG_SIGNATURES = {"models/autoencoder.py: VariationalAutoencoder.__init__", "models/cnn.py: CNN.__init__"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(path: Path) -> Iterator[tuple[str, Function]]:
    """Every function by its file and name, such as `models/gan.py: GAN.embed`."""

    def within(node: ast.AST, name: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function | ast.ClassDef):
                own = f"{name}.{child.name}".lstrip(".")
                if isinstance(child, Function):
                    yield f"{path.relative_to(SOURCE).as_posix()}: {own}", child
                yield from within(child, own)
            else:
                yield from within(child, name)

    return within(ast.parse(path.read_text(encoding="utf-8")), "")


def _lines(function: Function) -> int:
    """From `def` to the end, without the docstring."""
    assert function.end_lineno is not None
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    inside = docstring.end_lineno - docstring.lineno + 1 if docstring and docstring.end_lineno else 0
    return function.end_lineno - function.lineno + 1 - inside


def _parameters(function: Function) -> int:
    arguments = function.args
    return sum(
        one.arg not in ("self", "cls") for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_files_functions_and_signatures_are_short(path: Path) -> None:
    name = path.relative_to(SOURCE).as_posix()
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_OF_A_FILE, f"{name} has {lines} lines"
    functions = dict(_functions(path))
    long = {key: _lines(function) for key, function in functions.items() if _lines(function) > LINES_OF_A_FUNCTION}
    assert not long
    many = {key for key, function in functions.items() if _parameters(function) > PARAMETERS} - LONG_SIGNATURES
    assert not many, "group what belongs together in a small dataclass"


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.rglob("*.py")), ids=lambda path: path.name)
def test_files_of_tests_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_OF_A_FILE
