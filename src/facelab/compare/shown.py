"""Format values, estimates, differences and points as text."""

import math
import sys
from collections.abc import Mapping

from facelab.compare.statistics import Estimate
from facelab.metrics import Metric


def label_of(point: Mapping[str, str]) -> str:
    """Label of a point as in the names of runs, such as `cnn · k=5 · seed=1`."""
    return " · ".join(
        value if "." not in key and key not in ("seed", "trial") else f"{short(key)}={value}"
        for key, value in point.items()
    )


def short(key: str) -> str:
    """The last part of a config key; `k`, as in papers, for training images per person."""
    return "k" if key == "split.train_per_identity" else key.rpartition(".")[2].rpartition("/")[2]


def shown_value(metric: Metric, value: float, signed: bool = False) -> str:
    """Format a value of a metric; shares as percent."""
    sign = "+" if signed else ""
    if metric.unit == "share":
        return f"{100 * value:{sign}.1f}%"
    return f"{value:{sign}.{_decimals(value)}f}"


def shown_estimate(metric: Metric, found: Estimate | None) -> str:
    """Format an estimate as `mean ± half-width (n)`, or a single value without interval."""
    if found is None:
        return ""
    if found.half_width is None:
        return shown_value(metric, found.mean)
    if metric.unit == "share":
        return f"{100 * found.mean:.1f} ± {100 * found.half_width:.1f}% ({found.n})"
    digits = _decimals(found.mean)
    return f"{found.mean:.{digits}f} ± {found.half_width:.{digits}f} ({found.n})"


def shown_difference(metric: Metric, found: Estimate) -> tuple[str, str]:
    """Format a difference with its sign, and its 95 % interval; shares in percentage points."""
    mean, half_width = found.mean, found.half_width or 0.0
    unit, factor, digits = (" pp", 100, 1) if metric.unit == "share" else ("", 1, _decimals(max(abs(mean), half_width)))
    low, high = factor * (mean - half_width), factor * (mean + half_width)
    if found.half_width is None:
        return f"{factor * mean:+.{digits}f}{unit}", "–"
    return f"{factor * mean:+.{digits}f}{unit}", f"{low:+.{digits}f} to {high:+.{digits}f}"


def shown_p(p: float | None) -> str:
    """Format a p value; a dash for None."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _decimals(value: float) -> int:
    """Number of decimals that shows three significant digits."""
    return 3 if value == 0 else min(9, max(0, 2 - math.floor(math.log10(abs(value)))))


def rounded(text: str) -> str:
    """Round a number in a text to four significant digits; other texts and integers stay unchanged."""
    try:
        return text if text.lstrip("-").isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text


def is_finite(value: float) -> bool:
    """Whether a recorded value is finite. MLflow records infinity as the largest float."""
    return abs(value) < sys.float_info.max
