"""What the tests share."""

import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests import conftest

# Starts two others, each in a group of its own, as a sweep has jobs; one is an orphan, since its parent ends at once.
PROGRAM = """
import subprocess, sys, time
waiting = "import os, time; open(f'{os.getpid()}.pid', 'w').close(); time.sleep(600)"
ending = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {waiting!r}])"
for program in (waiting, ending):
    subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
time.sleep(600)
"""


def test_nothing_that_a_test_has_started_outlives_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, text=True, stdout=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    conftest.kill_all(tmp_path, process)
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
    assert process.poll() is not None
