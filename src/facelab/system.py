"""Utilities for the machine and the terminal: CPU cores, processes, temporary folders, text, paths, progress."""

import codecs
import ctypes
import errno
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from facelab.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

_LOOK_ALIKES = {"·": "-", "–": "-", "—": "-", "…": "...", "±": "+-", "×": "x", "’": "'"}
_REPORT_S = 30.0  # between two lines of progress
_PRINTABLE = "facelab.printable"
_TRAINING_COMMAND = "FACELAB_TRAINING_COMMAND"  # an environment variable, which processes of a sweep inherit
_PR_SET_PDEATHSIG = 1  # of Linux's prctl
_SOCKET_PATH_CHARACTERS = 107  # of sun_path, without its terminating zero; on macOS 103
_SOCKET_NAME_CHARACTERS = 36  # appended by multiprocessing: /pymp-12345678/listener-12345678, with a margin


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def die_with_parent() -> None:
    """Kill this process with SIGKILL as soon as its parent process ends; call it in the main thread."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = parent_process()
    if parent is not None:
        # Linux takes the fork server that started a process for another one as its parent. Other systems lack the call
        # above, which also comes too late if the parent has ended.
        threading.Thread(target=_die_after, args=(parent.sentinel,), daemon=True).start()


def training_command(arguments: Iterable[str] = ()) -> str:
    """The command that trains, as the user types it: `python train.py` if started so, or else `facelab train`.

    Args:
        arguments: of the command line; quoted for the shell.
    """
    return " ".join([os.environ.get(_TRAINING_COMMAND, "facelab train"), *map(shlex.quote, arguments)])


def set_training_command(command: str) -> None:
    """Choose what `training_command` gives in this process and those it starts."""
    os.environ[_TRAINING_COMMAND] = command


def duration(seconds: float) -> str:
    """Format seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def make_console(stderr: bool = False, quiet: bool = False) -> "Console":
    """Create a console that prints text literally, without markup (`[/b]`) or emoji codes (`:smile:`).

    Args:
        stderr: whether to write to standard error instead of standard output.
        quiet: whether to print nothing.
    """
    from rich.console import Console  # imported late to keep `--help` fast

    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False)


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show how many are done and the time left; without a terminal, in a line every half a minute.

    Args:
        what: what is counted and what is done to it, such as `photos aligned`.
        total: number of them.
        done: number of those that were done before.

    Returns:
        To be called after each further one.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # late, as above

    console, began, first = make_console(stderr=True), time.monotonic(), done
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(f"{what} · ETA"), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task, next_line = bar.add_task("", total=total, completed=done), began + _REPORT_S

    def advance() -> None:
        nonlocal done, next_line
        done += 1
        bar.advance(task)
        now = time.monotonic()
        if not console.is_terminal and now >= next_line:
            next_line = now + _REPORT_S
            eta = duration((now - began) / (done - first) * (total - done))
            say(f"{done:>9,} of {total:,} {what}  ETA {eta}")

    with bar:
        yield advance


def say(text: str) -> None:
    """Print a line to standard error, beside a progress bar."""
    make_console(stderr=True).print(text, highlight=False, soft_wrap=True)


def counted(number: int, noun: str) -> str:
    """A number and its noun: `1 image`, `2,000 images`, `2 classes`, `2 people`."""
    plural = "people" if noun == "person" else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def visible(text: str) -> str:
    """The text with escapes for control and other invisible characters: a file name must not control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def check_path(key: str, path: Path) -> None:
    """Refuse a path that cannot be looked up, for which `Path.exists`, `is_dir` and `is_file` would raise an OSError.

    Args:
        key: of the config that gives the path, for messages.
        path: it need not exist.

    Raises:
        ConfigError: it, or a folder on the way to it, has too long a name, is a circular link, or may not be read.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigError(
            f"{key}: {path.absolute()} cannot be looked up ({error.strerror or error}). Choose another path with "
            f"{key}=..., or correct the permissions or links on the way to it."
        ) from error


def replace_files(contents: Mapping[Path, bytes], mode: int = 0o666) -> None:
    """Write files in place of those of these names; if one cannot be written, all stay as they were.

    Args:
        contents: by path; folders that do not exist are created.
        mode: permissions of the files, less those that the umask takes away.

    Raises:
        OSError: a file cannot be written.
    """
    partials = {path: path.with_name(f".{path.name}.partial") for path in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            partials[path].unlink(missing_ok=True)
            partials[path].touch(mode, exist_ok=False)
            partials[path].write_bytes(content)
        for path, partial in partials.items():
            partial.replace(path)
    finally:
        for partial in partials.values():
            with suppress(OSError):
                partial.unlink()


def print_anything(*streams: TextIO) -> None:
    """Make streams accept any text: characters missing in their encoding become look-alikes or escapes.

    Args:
        streams: by default, standard output and standard error.
    """
    for stream in streams or (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests and notebooks replace the streams by other objects
            stream.reconfigure(errors=_PRINTABLE)


def _printable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_LOOK_ALIKES.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end


codecs.register_error(_PRINTABLE, _printable)


@contextmanager
def short_temporary_folder() -> Iterator[None]:
    """Use a short temporary folder within the block, if TMPDIR is too long for the path of a socket.

    The sockets of multiprocessing stay in that folder, including those of processes that start later.
    """
    before = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) + _SOCKET_NAME_CHARACTERS > _SOCKET_PATH_CHARACTERS:
        tempfile.tempdir = next((folder for folder in ("/tmp", "/var/tmp") if os.access(folder, os.W_OK)), before)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _die_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
