"""What stands beside the gain of arms that train on synthetic faces: their generators, their cost, their faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from facelab.compare.recorded import Recorded
from facelab.compare.shown import shown_value
from facelab.metrics import Metric
from facelab.studies.grid import Grid
from facelab.tracking import ChildRow, Store, runs_by_id

_SHEET = "synthetic_faces"
_SECONDS = "fit/seconds"


@dataclass(frozen=True)
class Beside:
    """Of an arm under a condition, means over its runs.

    Args:
        arm: of the study.
        condition: of the study.
        minutes: of training the recogniser.
        generator_minutes: of training the generator; None if the arm has none.
        metrics: of the generators, as text, by name.
    """

    arm: str
    condition: str
    minutes: float | None
    generator_minutes: float | None
    metrics: Mapping[str, str]


def beside(grid: Grid, names: Sequence[str], store: Store) -> list[Beside]:
    """Costs of every arm and figures of its generators.

    Args:
        grid: of the study.
        names: metrics of the generators.
        store: of the runs.

    Raises:
        TrackingError: the store cannot be read.
    """
    ids = list(dict.fromkeys(row.generator for row in grid.runs.values() if row.generator))
    generators = {one.id: one for one in runs_by_id(store, ids) if one is not None}
    found = []
    for arm in grid.arms:
        for condition in grid.conditions:
            rows = [grid.runs[arm, condition, r] for r in grid.of(arm, condition)]
            made = [generators[row.generator] for row in rows if row.generator in generators]
            metrics = {name: _mean_text(made, name) for name in names}
            found.append(Beside(arm, condition, _minutes(rows), _minutes(made), metrics))
    return found


def sheets(grid: Grid, recorded: Recorded) -> dict[str, bytes]:
    """PNG by arm: synthetic faces of its first run, beside the real ones.

    Raises:
        TrackingError: the store cannot be read.
    """
    pictures = {}
    for arm in grid.arms:
        rows = [grid.runs[cell] for cell in grid.runs if cell[:2] == (arm, grid.conditions[0])]
        found = recorded.pictures(rows[0], [_SHEET]) if rows else {}
        if _SHEET in found:
            pictures[arm] = found[_SHEET]
    return pictures


def _minutes(rows: Sequence[ChildRow]) -> float | None:
    seconds = [row.metrics[_SECONDS] for row in rows if _SECONDS in row.metrics]
    return fmean(seconds) / 60 if seconds else None


def _mean_text(rows: Sequence[ChildRow], name: str) -> str:
    values = [row.metrics[name] for row in rows if name in row.metrics]
    if not values:
        return "-"
    declared = next((row.declared[name] for row in rows if name in row.declared), Metric(name, name, True))
    return shown_value(declared, fmean(values))
