"""Imported once by the process that all jobs are forked from, so that a job starts at once."""

from facelab import run  # noqa: F401
from facelab.interrupt import die_with_parent
from facelab.tracking import warm_up

die_with_parent()
warm_up()
