"""Settings of a sweep, apart from its axes."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field


@dataclass(frozen=True)
class SweepSettings:
    """Settings of a sweep.

    Args:
        name: of the sweep; the same name continues the same sweep. null for one made of its axes and fixed choices.
        jobs: maximal number of parallel jobs; null for as many as cores, memory or GPUs allow.
        fail_fast: stop at the first job that fails.
        stale: whether to keep or redo runs that an older commit finished.
        study: folder of experiments/ with the registration of the study that the sweep makes the runs of.
    """

    name: str | None = None
    jobs: Annotated[int, Field(ge=1)] | None = None
    fail_fast: bool = False
    stale: Literal["keep", "redo"] = "keep"
    study: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(r"[\w.+ -]*\w[\w.+ -]*", self.name):
            raise ValueError(f"name takes letters, digits, spaces and . + - _, got {self.name!r}")
