"""The tables in the pages are those that commands have written."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT

HEAD = "| a | b |\n|---|---|\n"
FILE = f"{HEAD}| 1 | 2 |\n\nin words:\n\n{HEAD}| 3 | 4 |\n"
PLACE = "before\n\n<!-- table 2 of table.md -->\n{}<!-- end of table -->\n\nafter\n"


def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_writing_the_tables_again_changes_no_page() -> None:
    tables, places = script(), 0
    for path in tables.PAGES:
        text = path.read_text(encoding="utf-8")
        assert tables.filled(text, ROOT) == text, f"{path.name} has changed: python docs/tables.py"
        places += len(re.findall(r"^<!-- table \d", text, re.MULTILINE))
    assert places > 10


def test_a_table_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "table.md").write_text(FILE, encoding="utf-8")
    expected = PLACE.format(f"{HEAD}| 3 | 4 |\n")
    for before in ("", f"{HEAD}| 3 | typed |\n", f"{HEAD}| 3 | 4 |\n"):
        assert script().filled(PLACE.format(before) * 2, tmp_path) == expected * 2


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (PLACE.replace("table 2", "table 3").format(""), "table.md has no table 3"),
        (PLACE.replace("table.md", "none.md").format(""), "none.md has no table 2"),
        (PLACE.format("").replace("<!-- end of table -->", ""), "expected <!-- end of table --> after"),
        (
            PLACE.format("").replace("<!-- end of table -->", "") + PLACE.format(""),
            "expected <!-- end of table --> after",
        ),
    ],
)
def test_a_place_without_its_table_is_an_error(page: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "table.md").write_text(FILE, encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        script().filled(page, tmp_path)
