"""Handle signals that stop a run."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from facelab.errors import Interrupted

_IGNORABLE = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()  # stays ignored under nohup
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *_IGNORABLE)
_heeded: dict[int, Any] = {}  # what `ignore_stops` replaced


def ignore_stops() -> None:
    """Ignore SIGTERM and SIGHUP, which a service manager or a closed terminal sends to every process of a group.

    For a process that others are forked from: these would die with it, without a checkpoint. They call `heed_stops`.
    """
    for number in (signal.SIGTERM, *_IGNORABLE):
        _heeded[number] = signal.getsignal(number)
        signal.signal(number, signal.SIG_IGN)


def heed_stops() -> None:
    """Undo `ignore_stops` in a process that was forked from the one that called it."""
    for number, handler in _heeded.items():
        signal.signal(number, handler)


class StopRequest:
    """Turns SIGINT (Ctrl-C), SIGTERM and SIGHUP (a closed terminal) into a request to stop.

    Within a `listening` block, such as training, which checks `requested` after every step, the first signal only sets
    `requested`. Every other signal raises `Interrupted`.

    Args:
        patient: never raise within a `listening` block. The ranks of a distributed run get each signal twice, from the
            terminal and from their parent process.
    """

    def __init__(self, patient: bool = False) -> None:
        self.patient = patient
        self.requested = False
        self._listening = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals within the block; use it in the main thread."""
        before = [(number, signal.getsignal(number)) for number in _SIGNALS]
        self.install()
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def install(self) -> None:
        """Install the handlers, replacing any others."""
        for number in _SIGNALS:
            if number not in _IGNORABLE or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, the caller polls `requested`."""
        self._listening = True
        try:
            yield
        finally:
            self._listening = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.requested = not self.requested, True
        if not self._listening or not (first or self.patient):
            raise Interrupted
