"""What to tell users about operating points that their data does not support."""

import math
from collections.abc import Sequence

from facelab.protocols.operating_points import LEAST_ERRORS, rate_text, supported


def left_out(
    rate: str, key: str, asked: Sequence[float], trials: int, trial: str, possible: Sequence[float] | None = None
) -> str:
    """A sentence on the operating points that a number of trials does not support; empty if it supports all.

    Args:
        rate: name of the error rate, such as `FPIR`.
        key: the config key that sets the operating points.
        asked: error rates in (0, 1).
        trials: number of trials.
        trial: what they are, in the plural, such as `impostor pairs`.
        possible: error rates that can be asked for; None for any.
    """
    given = supported(asked, trials)
    missing = [rate_text(target) for target in asked if target not in given]
    if not missing:
        return ""
    if possible is None:
        possible = [math.ceil(LEAST_ERRORS / trials * 1e6 - 1e-6) / 1e6] if trials > LEAST_ERRORS else []
    lowest = min(supported(possible, trials), default=None)
    instead = "they support none" if lowest is None else f"the lowest they support is {lowest:g} ({key}=[{lowest:g}])"
    return (
        f"{trials:,} {trial} do not support {rate} {', '.join(missing)}, since {LEAST_ERRORS} errors must be expected "
        f"at an operating point (rule of 30); {instead}."
    )
