"""Faces that are read well or badly, so that the jobs of a sweep end in every way."""

import os
import signal
import time
from pathlib import Path

from facelab.data.faces import FaceSet
from facelab.data.sources.orl import ORL

CRASHES = ("raise", "exit_0", "exit_3", "segfault", "sigkill")


class Faulty(ORL):
    """AT&T faces whose loading fails.

    Args:
        how: `none`, or how the process is to end; `once`, until there is a file `mended`;
            `by_number`, every tenth in one of five ways.
        number: tells jobs apart.
    """

    def __init__(self, how: str = "none", number: int = 0, image_size: int = 32, last_person: int = 6) -> None:
        super().__init__(image_size=image_size, last_person=last_person)
        if how == "by_number":
            how = CRASHES[number // 10 % len(CRASHES)] if number % 10 == 3 else "none"
        self.how, self.number = how, number

    def load(self) -> FaceSet:
        if self.how == "raise":
            raise RuntimeError("on purpose")
        if self.how == "raise_long":
            raise RuntimeError("very long " * 20_000)
        if self.how == "exit_0":
            os._exit(0)
        if self.how == "exit_3":
            os._exit(3)
        if self.how == "system_exit":
            raise SystemExit(0)
        if self.how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.how == "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "once" and not Path("mended").exists():
            raise RuntimeError("not mended yet")
        if self.how == "wait":
            Path(f"waiting-{self.number}").touch()
            time.sleep(600)
        return super().load()


def add_choice(folder: Path) -> None:
    """Make `data=faulty` a choice of commands that run in a folder."""
    (folder / "conf" / "data").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "data" / "faulty.yaml").write_text(
        "_target_: tests.sweep.faults.Faulty\nhow: none\nnumber: 0\nimage_size: 32\nlast_person: 6\n"
    )
