"""Declarations of metrics: name, title, direction and unit."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal["", "share", "dB", "s", "images"]
# Prefixes of a metric computed on another split or at another time.
_PREFIXES = ("val/", "best/", "train/")
_INTERVAL_ENDS = ("_low", "_high")


@dataclass(frozen=True)
class Metric:
    """Declaration of a metric.

    Args:
        name: name under which it is recorded, such as `verification/eer`; for a term of training or validation without
            its prefix, such as `loss`.
        title: short description for tables.
        higher_is_better: whether higher values are better.
        unit: unit of the values; `share` for values in [0, 1] that are shown in percent.
        headline: whether comparisons show it by default.
    """

    name: str
    title: str
    higher_is_better: bool
    unit: Unit = ""
    headline: bool = False


def find_metric(name: str, declared: Mapping[str, Metric]) -> Metric | None:
    """Find the declaration of a recorded metric; None if there is none.

    The declaration of `test/f1` or `f1` also covers `val/f1`, `best/f1` and `train/f1`; that of `verification/eer`
    covers `val/verification/eer`. A metric's declaration covers the ends of its interval.

    Args:
        name: name as recorded.
        declared: declarations by name.
    """
    for end in ("", *_INTERVAL_ENDS):
        if name.endswith(end):
            base = name.removesuffix(end)
            candidates = [base, *(part for prefix in _PREFIXES for part in _without(prefix, base))]
            for candidate in candidates:
                if candidate in declared:
                    return declared[candidate]
    return None


def _without(prefix: str, name: str) -> tuple[str, ...]:
    rest = name.removeprefix(prefix)
    return () if rest == name else (f"test/{rest}", rest)


def validation_name(metric: str) -> str:
    """Name of a metric on the validation split, such as `val/f1` for `test/f1`."""
    return f"val/{metric.removeprefix('test/')}"


def to_text(metrics: Iterable[Metric]) -> str:
    """Serialise declarations without titles, short enough for a tag of a run."""
    return json.dumps({m.name: [m.unit, int(m.higher_is_better), int(m.headline)] for m in metrics})


def from_text(text: str) -> dict[str, Metric]:
    """Read the declarations written by `to_text`, by name; empty for any other text."""
    try:
        found = json.loads(text)
        return {
            str(name): Metric(str(name), str(name), bool(higher), unit, bool(headline))
            for name, (unit, higher, headline) in found.items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}
