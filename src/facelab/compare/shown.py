"""How a comparison writes values, estimates, differences and points."""

import math
import sys
from collections.abc import Mapping

from facelab.compare.statistics import Estimate
from facelab.metrics import Metric


def label_of(point: Mapping[str, str]) -> str:
    """A point as in the names of runs, such as `cnn · k=5 · seed=1`."""
    return " · ".join(
        value if "." not in key and key not in ("seed", "trial") else f"{short(key)}={value}"
        for key, value in point.items()
    )


def short(key: str) -> str:
    """The last part of a config key; k is the papers' word for training pictures a person."""
    return "k" if key == "split.train_per_identity" else key.rpartition(".")[2].rpartition("/")[2]


def shown_value(metric: Metric, value: float, signed: bool = False) -> str:
    """A value of a metric; shares as percent."""
    sign = "+" if signed else ""
    if metric.unit == "share":
        return f"{100 * value:{sign}.1f}%"
    return f"{value:{sign}.{_decimals(value)}f}"


def shown_estimate(metric: Metric, found: Estimate | None) -> str:
    """`mean ± half-width (n)`; a single value alone."""
    if found is None:
        return ""
    if found.half_width is None:
        return shown_value(metric, found.mean)
    if metric.unit == "share":
        return f"{100 * found.mean:.1f} ± {100 * found.half_width:.1f}% ({found.n})"
    digits = _decimals(found.mean)
    return f"{found.mean:.{digits}f} ± {found.half_width:.{digits}f} ({found.n})"


def shown_difference(metric: Metric, found: Estimate) -> tuple[str, str]:
    """A difference with its sign, and its 95 % interval; of shares in points of percent."""
    mean, half_width = found.mean, found.half_width or 0.0
    unit, factor, digits = (" pp", 100, 1) if metric.unit == "share" else ("", 1, _decimals(max(abs(mean), half_width)))
    low, high = factor * (mean - half_width), factor * (mean + half_width)
    if found.half_width is None:
        return f"{factor * mean:+.{digits}f}{unit}", "–"
    return f"{factor * mean:+.{digits}f}{unit}", f"{low:+.{digits}f} to {high:+.{digits}f}"


def shown_p(p: float | None) -> str:
    """A p value; a dash where there is none."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _decimals(value: float) -> int:
    """So that three digits are seen."""
    return 3 if value == 0 else min(9, max(0, 2 - math.floor(math.log10(abs(value)))))


def rounded(text: str) -> str:
    """What a sampler has drawn, without the digits that say nothing."""
    try:
        return text if text.lstrip("-").isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text


def is_finite(value: float) -> bool:
    """Whether a value is one to calculate with; for infinity MLflow keeps the largest number there is."""
    return abs(value) < sys.float_info.max
