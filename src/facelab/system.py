"""The machine and the terminal: cores, temporary folders, what can be printed."""

import codecs
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_LOOK_ALIKES = {"·": "-", "–": "-", "—": "-", "…": "...", "±": "+-", "×": "x", "’": "'"}
_PRINTABLE = "facelab.printable"
_SOCKET_PATH_CHARACTERS = 107  # of sun_path, without its closing zero; on macOS 103
_SOCKET_NAME_CHARACTERS = 36  # what multiprocessing appends: /pymp-12345678/listener-12345678, with some room


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def duration(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def make_console(stderr: bool = False, quiet: bool = False) -> "Console":
    """A console that prints names as they are: `[/b]` is a name, and no markup; `:smile:` is no picture.

    Args:
        stderr: whether it writes to standard error instead of standard output.
        quiet: whether it prints nothing.
    """
    from rich.console import Console  # late: `--help` answers at once

    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False)


def print_anything(*streams: TextIO) -> None:
    """Let streams take any text, whatever the locale: what their encoding lacks comes out as a look-alike or an escape.

    Args:
        streams: standard output and standard error, unless others are given.
    """
    for stream in streams or (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a test or a notebook has put something else there
            stream.reconfigure(errors=_PRINTABLE)


def _printable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_LOOK_ALIKES.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end


codecs.register_error(_PRINTABLE, _printable)


@contextmanager
def short_temporary_folder() -> Iterator[None]:
    """Within the block, temporary files lie where the path of a socket fits: some systems' TMPDIR is too long for it.

    Sockets of multiprocessing then stay there, also those of processes that are started later.
    """
    before = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) + _SOCKET_NAME_CHARACTERS > _SOCKET_PATH_CHARACTERS:
        tempfile.tempdir = next((folder for folder in ("/tmp", "/var/tmp") if os.access(folder, os.W_OK)), before)
    try:
        yield
    finally:
        tempfile.tempdir = before
