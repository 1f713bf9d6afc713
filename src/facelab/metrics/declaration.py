"""What a metric is: its name, direction and unit, declared once by whoever computes it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal["", "share", "dB", "s", "images"]
# Prefixes of the same metric, computed on another split or at another time.
_PREFIXES = ("val/", "best/", "train/")
_INTERVAL_ENDS = ("_low", "_high")


@dataclass(frozen=True)
class Metric:
    """A declared metric.

    Args:
        name: as it is recorded, such as `verification/eer`; for a term of training or validation without its prefix,
            such as `loss`.
        title: in words, for tables.
        higher_is_better: whether more of it is better.
        unit: `share` for values in [0, 1] that are shown in percent.
        headline: whether comparisons show it without being asked.
    """

    name: str
    title: str
    higher_is_better: bool
    unit: Unit = ""
    headline: bool = False


def find_metric(name: str, declared: Mapping[str, Metric]) -> Metric | None:
    """The declaration of a recorded name; None if there is none.

    `val/f1`, `best/f1` and `train/f1` are declared by `test/f1` or `f1`, `val/verification/eer` by `verification/eer`,
    and the ends of an interval by the metric itself.

    Args:
        name: as recorded.
        declared: by name.
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
    """The name of a metric on the validation split: `val/f1` of `test/f1`, `val/verification/eer` of
    `verification/eer`."""
    return f"val/{metric.removeprefix('test/')}"


def to_text(metrics: Iterable[Metric]) -> str:
    """Names with unit, direction and headline, short enough for a tag of a run."""
    return json.dumps({m.name: [m.unit, int(m.higher_is_better), int(m.headline)] for m in metrics})


def from_text(text: str) -> dict[str, Metric]:
    """What `to_text` wrote, by name; empty for a text that is none of its own."""
    try:
        found = json.loads(text)
        return {
            str(name): Metric(str(name), str(name), bool(higher), unit, bool(headline))
            for name, (unit, higher, headline) in found.items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}
