"""Descriptions for MLflow's page, which opens a run on its description.

The page renders Markdown with showdown (GitHub flavour) and removes all HTML but plain tags: images keep only their
address, which must be relative or http, so neither a size nor a data URI. It is folded to about seven lines at first.
Seen on MLflow 3.17.2.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

DESCRIPTION = "mlflow.note.content"
CHARACTERS = 5000  # of a tag; servers of older MLflow versions take no more
_GAP = "&emsp;"  # the page's tables have no space between columns
_ESCAPES = str.maketrans({**{c: f"\\{c}" for c in "\\`*_[]|#~!"}, "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_MENTION_OR_EMOJI = re.compile(r"(?<!\S)@(?=\w)|:(?=[\w+-]+:)")  # @name becomes a link, and :name: a picture
_COMMAND_CHARACTERS = 74  # of a line
_CUT = "\n\n…"


@dataclass(frozen=True)
class RunPage:
    """Addresses on MLflow's page of a run, relative to the page, so that they hold wherever it is served.

    Args:
        run_id: of the run.
        experiment_id: of its MLflow experiment; empty if unknown.
    """

    run_id: str
    experiment_id: str

    @property
    def address(self) -> str:
        """The run's page."""
        if not self.experiment_id:
            return f"#/runs/{self.run_id}"
        return f"#/experiments/{self.experiment_id}/runs/{self.run_id}"

    def viewer(self, artifact: str) -> str:
        """The page that shows an artifact, by its path; the run's page if its experiment is unknown."""
        return f"{self.address}/artifacts/{artifact}" if self.experiment_id else self.address

    def picture(self, artifact: str, caption: str, shown: str | None = None) -> str:
        """An image among the artifacts, which leads to the page that shows it.

        Args:
            artifact: its path.
            caption: read where images are not shown.
            shown: path of the image to show instead, such as a smaller one.
        """
        source = f"get-artifact?{urlencode({'path': shown or artifact, 'run_uuid': self.run_id})}"
        return f"[![{plain(caption)}]({source})]({self.viewer(artifact)})"


def plain(text: str) -> str:
    """Escape text for Markdown, on one line."""
    return _MENTION_OR_EMOJI.sub(lambda found: f"\\{found[0]}", " ".join(text.split()).translate(_ESCAPES))


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts.

    Args:
        rows: at least one, all of one length; the first is the heading.
    """
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join(_line(line, number == 1) for number, line in enumerate(lines))


def command_block(command: str) -> str:
    """A command line as a block, continued on further lines where it is long: a wide block would widen the page.

    Indented, since no fence is safe from what the command may hold.
    """
    try:
        words = [shlex.quote(word) for word in shlex.split(command)]
    except ValueError:  # a foreign store may call anything a command
        words = command.split()
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) >= _COMMAND_CHARACTERS:
            lines[-1] += "\\"
            lines.append("  ")
        lines[-1] += f"{word} "
    return "\n".join(f"    {part.rstrip()}" for line in lines for part in line.splitlines())


def inline_code(text: str) -> str:
    """A short text as it is, within a line."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if len(fence) > 1 else f"`{text}`"


def within_limit(first: Sequence[str], middle: Sequence[str], last: Sequence[str]) -> str:
    """Join blocks with blank lines to at most `CHARACTERS`; blocks of the middle are left out, from its end, to fit.

    Args:
        first: blocks that come first and are kept.
        middle: blocks that may be left out.
        last: blocks that come last and are kept.
    """
    kept = list(middle)
    while kept and len("\n\n".join([*first, *kept, *last])) > CHARACTERS:
        kept.pop()
    text = "\n\n".join(block for block in [*first, *kept, *last] if block)
    return text if len(text) <= CHARACTERS else text[: CHARACTERS - len(_CUT)] + _CUT


def without_passwords(command: str) -> str:
    """A command line without the `user:password@` of addresses."""
    return re.sub(r"(?<=://)[^/@\s'\"]+@", "", command)


def _line(cells: Sequence[str], is_rule: bool) -> str:
    if is_rule:
        return "| " + " | ".join(cells) + " |"
    return "| " + " | ".join([*(f"{plain(cell)}{_GAP}" for cell in cells[:-1]), plain(cells[-1])]) + " |"
