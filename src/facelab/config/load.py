"""Read YAML files of users and run folders, with limits on their size.

PyYAML has no limits on aliases, nesting and the length of numbers: a file of one kilobyte can exhaust the memory. This
module counts the file's events before it builds any values.
"""

import re
import stat
from pathlib import Path
from typing import Any

import yaml

from facelab.errors import ConfigError

MOST_BYTES = 256 * 1024
MOST_DEPTH = 50
MOST_VALUES = 50_000  # every use of an alias counts
MOST_DIGITS = 64
_CHARACTERS_PER_VALUE = 64  # a long text counts as several values, since aliases may repeat it
_WHOLE_NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_:]*)")


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is `key: value`.

    Args:
        path: of a regular file.

    Returns:
        Plain dicts, lists and scalars; empty for an empty file.

    Raises:
        OSError: the file is missing or cannot be read.
        ConfigError: it is not valid YAML, has no keys, or exceeds a limit; names the file and, if known, the line.
    """
    text = _within_limits(path)
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(yaml_fault(error, path)) from error
    if found is not None and not isinstance(found, dict):
        raise ConfigError(f"{path}: expected lines of the form 'key: value', got a {type(found).__name__}.")
    return found or {}


def check_yaml(path: Path) -> None:
    """Check that a YAML file is readable and within the limits.

    Raises:
        ConfigError: as for `load_yaml`, or the file cannot be opened.
    """
    try:
        load_yaml(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}).") from error


def yaml_fault(error: Exception, path: Path | None = None) -> str:
    """Format an error in a YAML file, with the file's name and the line.

    Args:
        error: of PyYAML.
        path: of the file; None for the name in the error.
    """
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    name = path or getattr(mark, "name", None) or getattr(error, "name", "a YAML file")
    where = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(name)
    problem = " ".join(str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).split())
    if "'\\t'" in problem:
        return f"{where}: a tab; YAML is indented with spaces. Replace the tab by spaces."
    return f"{where}: not valid YAML: {problem}. Correct the file; a text with special characters needs quotes."


def _within_limits(path: Path) -> str:
    """Read the text of a file and check it against all limits."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ConfigError(f"{path}: is no regular file.")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path}: larger than {MOST_BYTES // 1024} KiB, the most a config file may have.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text. Save the file as UTF-8.") from error
    try:
        _count(text, path)
    except yaml.YAMLError as error:
        raise ConfigError(yaml_fault(error, path)) from error
    return text


def _count(text: str, path: Path) -> None:
    """Raise an error for too deep nesting, too many values, or too long numbers."""
    anchors: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = [(None, 0)]  # anchor and number of values of each open node

    def add(values: int) -> None:
        anchor, before = opened[-1]
        opened[-1] = (anchor, before + values)
        if before + values > MOST_VALUES:
            raise ConfigError(f"{path}: more than {MOST_VALUES:,} values, each use of an alias (*name) counted.")

    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{path}, line {event.start_mark.line + 1 if event.start_mark else 1}"
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise ConfigError(f"{where}: the alias *{event.anchor} is unknown here, or contains itself.")
            add(anchors[event.anchor])
        elif isinstance(event, yaml.ScalarEvent):
            number = event.implicit[0] or (event.tag or "").endswith(":int")
            if number and len(event.value) > MOST_DIGITS and _WHOLE_NUMBER.fullmatch(event.value):
                raise ConfigError(f"{where}: a number of {len(event.value)} digits; at most {MOST_DIGITS} are read.")
            values = 1 + len(event.value) // _CHARACTERS_PER_VALUE
            if event.anchor:
                anchors[event.anchor] = values
            add(values)
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(opened) > MOST_DEPTH:
                raise ConfigError(f"{where}: nested deeper than {MOST_DEPTH} levels.")
            opened.append((event.anchor, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, values = opened.pop()
            if anchor:
                anchors[anchor] = values
            add(values)
