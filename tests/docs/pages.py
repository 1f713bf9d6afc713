"""The commands of README and docs, as a reader would type them."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Words that begin a command; `FACELAB_ALLOW=... facelab` sets the environment first.
_PROGRAMS = ("facelab", "python", "make", "pip", "pytest", "mlflow", "docker", "export", "rm", "source", "pre-commit")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S+")


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Args:
        page: name of the file.
        text: as written, with continued lines joined.
        answer: what the page shows as its output, for a line that begins with `$`; empty otherwise.
    """

    page: str
    text: str
    answer: str = ""

    def words(self, replaced: Mapping[str, str]) -> list[str]:
        """The words that a shell hands over, without assignments to the environment.

        Args:
            replaced: what to write for each placeholder, such as `run id` for `<run id>`.
        """

        def value(found: re.Match[str]) -> str:
            name = found[1]
            return replaced[name] if name in replaced else replaced["run id" if "id" in name.split() else "name"]

        text = re.sub(r"<([a-z ]+)>", value, self.text).replace("...", "name")
        words = shlex.split(os.path.expandvars(text), comments=True)
        for cut in ("|", "<", ">"):
            words = words[: words.index(cut)] if cut in words else words
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words.pop(0)
        return words


def commands() -> list[Command]:
    """All commands, each once."""
    found: dict[str, Command] = {}
    for path in PAGES:
        for command in of_page(path):
            found.setdefault(command.text, command)
    return list(found.values())


def files() -> dict[str, str]:
    """YAML files that pages tell the reader to write, by path; those of docs/extending.md have a test of their own."""
    found: dict[str, str] = {}
    for path in PAGES:
        if path.name != "extending.md":
            text = path.read_text(encoding="utf-8")
            found |= dict(
                re.findall(r"`((?:conf|experiments)/[\w/]+\.yaml)`[^`]*:\n\n```yaml\n(.*?)```", text, re.DOTALL)
            )
    return found


def of_page(path: Path) -> Iterator[Command]:
    """The commands of a page."""
    text = path.read_text(encoding="utf-8")
    for language, block in _FENCE.findall(text):
        if language in ("", "sh", "bash", "console"):
            yield from _of_block(path.name, block)
    for span in _INLINE.findall(_FENCE.sub("", text)):
        line = " ".join(span.replace("\\|", "|").split())
        if _is_command(line):
            yield Command(path.name, line)


def _of_block(page: str, block: str) -> Iterator[Command]:
    lines = block.replace("\\\n", " ").splitlines()
    if lines and lines[0].startswith("$ "):
        yield Command(page, lines[0].removeprefix("$ "), "\n".join(lines[1:]))
        return
    for line in lines:
        without = " ".join(line.split())
        if without and not without.startswith("#"):
            yield Command(page, re.sub(r"(?<=\S)\s+", " ", re.sub(r"\s{2,}#.*| # .*", "", line)).strip())


def _is_command(line: str) -> bool:
    words = line.split()
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words.pop(0)
    return bool(words) and words[0] in _PROGRAMS and len(words) > 1
