"""Signals."""

import os
import signal
import time

import pytest

from facelab.errors import Interrupted
from facelab.training.interrupt import StopRequest
from facelab.training.launch import launch


def test_the_first_signal_waits_for_a_listener_and_the_second_does_not() -> None:
    before, stop = signal.getsignal(signal.SIGTERM), StopRequest()
    with stop.installed():
        with stop.listening():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested
            with pytest.raises(Interrupted):
                os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest().installed():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_stops_a_run() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        with StopRequest().installed(), pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def _hang_up() -> bool:
    """Close the terminal of the process that launched this one; whether this one would notice."""
    os.kill(os.getppid(), signal.SIGHUP)
    time.sleep(1)  # the launcher looks about ten times a second
    return signal.getsignal(signal.SIGHUP) != signal.SIG_IGN


@pytest.mark.slow
def test_the_processes_of_a_run_under_nohup_outlive_its_terminal_and_leave_its_handlers() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest().installed():
            handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)]
            try:
                assert launch(1, _hang_up) is False
            except KeyboardInterrupt:  # would end all tests
                pytest.fail("the closed terminal stopped the run")
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)]
            assert after == handlers
            with pytest.raises(Interrupted):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGHUP, before)
