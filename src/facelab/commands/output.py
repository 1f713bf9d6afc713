"""Standard output and error of a command, which whoever reads them may close at any time."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class _Stream:
    """A text stream that goes quiet, instead of raising, once it can no longer be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """As of a text stream."""
        if self.fault is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._silence(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """As of a text stream."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """As of a text stream."""
        if self.fault is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._silence(error)

    def _silence(self, error: OSError) -> None:
        self.fault = error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())  # what is buffered, and child processes, must not meet it again
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Output:
    """Both streams of a command.

    Args:
        out: standard output.
        error: standard error.
    """

    def __init__(self, out: _Stream, error: _Stream) -> None:
        self._out, self._error = out, error

    def status(self, status: int) -> int:
        """The command's exit status: 141, as of a program that SIGPIPE ended, if its reader left; 1 if its output could
        not be written.

        Args:
            status: of what the command did.
        """
        self._out.flush()
        self._error.flush()
        fault = self._out.fault or self._error.fault
        if fault is None or status:
            return status
        if fault.errno == errno.EPIPE:
            return 141
        print(f"Error: the output cannot be written ({fault.strerror}).", file=self._error)
        return 1


@contextmanager
def guarded_output() -> Iterator[Output]:
    """Replace standard output and error by streams that never raise: a training goes on when `| head` has left."""
    before = sys.stdout, sys.stderr
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # a closed one would be given to the next file opened
        pass
    os.close(descriptor)
    streams = [_Stream(stream if stream is not None else open(os.devnull, "w")) for stream in before]  # noqa: SIM115, PTH123
    sys.stdout, sys.stderr = streams
    try:
        yield Output(*streams)
    finally:
        sys.stdout, sys.stderr = before
