"""Stopping at a moment from which a run can go on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from facelab.errors import Interrupted

_IGNORABLE = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()  # whoever says nohup wants to go on
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *_IGNORABLE)


class StopRequest:
    """What SIGINT (Ctrl-C), SIGTERM and SIGHUP (a closed terminal) mean while a run is alive.

    Where someone listens, as training does after every step, the first one only raises the flag `requested`. Otherwise,
    and from the second one on, it comes out as `Interrupted`.

    Args:
        patient: never raise while someone listens, however many signals come: the ranks of a distributed run get them
            from the terminal and from the process that started them.
    """

    def __init__(self, patient: bool = False) -> None:
        self.patient = patient
        self.requested = False
        self._listening = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals within the block; main thread only."""
        before = [(number, signal.getsignal(number)) for number in _SIGNALS]
        self.install()
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def install(self) -> None:
        """Take the signals (back) from whoever has them."""
        for number in _SIGNALS:
            if number not in _IGNORABLE or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, someone looks at `requested`."""
        self._listening = True
        try:
            yield
        finally:
            self._listening = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.requested = not self.requested, True
        if not self._listening or not (first or self.patient):
            raise Interrupted
