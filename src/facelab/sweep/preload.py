"""Imports of the process that all jobs are forked from, so that jobs start fast."""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep handles Ctrl-C during these imports

from facelab.runs import run  # noqa: E402, F401
from facelab.system import die_with_parent  # noqa: E402
from facelab.tracking import warm_up  # noqa: E402
from facelab.training.interrupt import ignore_stops  # noqa: E402

die_with_parent()
ignore_stops()
warm_up()
signal.signal(signal.SIGINT, signal.default_int_handler)
