"""Put tables that commands have written into the pages: python docs/tables.py.

A page has a place for a table of a file, the n-th one of it:

    <!-- table 1 of experiments/face_sets/table.md -->
    <!-- end of table -->

The file is what the study's script prints: python experiments/face_sets/table.py sets > experiments/face_sets/table.md
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("experiments/*/README.md"))]
_BEGIN = re.compile(r"^<!-- table (\d+) of (\S+) -->\n", re.MULTILINE)
_END = "<!-- end of table -->"


def tables(text: str) -> list[str]:
    """The tables of a Markdown text: lines that begin with a bar, one after the other."""
    return re.findall(r"(?:^\|.*(?:\n|\Z))+", text, re.MULTILINE)


def filled(page: str, root: Path) -> str:
    """The text of a page with each table as its file has it.

    Args:
        page: text of the page.
        root: folder that the paths in the page begin at.

    Raises:
        ValueError: a place has no end, or its file no such table.
    """
    pieces, rest = [], page
    while found := _BEGIN.search(rest):
        number, path = int(found[1]), root / found[2]
        before, end, after = rest[found.end() :].partition(_END)
        if not end or _BEGIN.search(before):
            raise ValueError(f"expected {_END} after {found[0].strip()}")
        there = tables(path.read_text(encoding="utf-8")) if path.is_file() else []
        if not 1 <= number <= len(there):
            raise ValueError(f"{found[2]} has no table {number}, which {found[0].strip()} asks for")
        pieces += [rest[: found.end()], there[number - 1].rstrip("\n"), "\n", _END]
        rest = after
    return "".join([*pieces, rest])


def main() -> int:
    """Rewrite the pages whose tables have changed, and name them."""
    for path in PAGES:
        before = path.read_text(encoding="utf-8")
        try:
            after = filled(before, ROOT)
        except ValueError as error:
            print(f"Error: {path.relative_to(ROOT)}: {error}", file=sys.stderr)
            return 1
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
