"""Stopping at a moment from which a run can go on, and not outliving who started it."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, parent_process
from types import FrameType

from facelab.errors import Interrupted

_IGNORABLE = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()  # whoever says nohup wants to go on
_PR_SET_PDEATHSIG = 1  # of Linux's prctl
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *_IGNORABLE)


def die_with_parent() -> None:
    """End this process, as SIGKILL does, when the one that started it ends, in whatever way; main thread only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = parent_process()
    if parent is not None:  # elsewhere, and for who was dead before the line above
        threading.Thread(target=_die_after, args=(parent.sentinel,), daemon=True).start()


def _die_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


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
