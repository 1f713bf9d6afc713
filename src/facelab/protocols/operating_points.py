"""Which operating points a number of trials supports."""

import math
from collections.abc import Sequence

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # at which a TAR can be asked for
LEAST_ERRORS = 30


def refuse_other_fars(far: Sequence[float] | None) -> None:
    """Check that FARs are among `FARS`, whose metrics are declared.

    Raises:
        ValueError: one is not.
    """
    unknown = [rate for rate in far or () if rate not in FARS]
    if unknown:
        raise ValueError(f"far must be among {', '.join(map(rate_text, FARS))}, got {unknown[0]}")


def supported(targets: Sequence[float], trials: int) -> list[float]:
    """The error rates at which `trials` are expected to give at least 30 errors, the rule of 30.

    With 30 errors, the true rate is within 30 % of the observed one with 90 % confidence, if trials are independent
    (Doddington, Przybocki, Martin and Reynolds, "The NIST speaker recognition evaluation", 2000).

    Args:
        targets: error rates in (0, 1].
        trials: number of trials that can fail, such as impostor pairs for a FAR.
    """
    return [target for target in targets if target * trials >= LEAST_ERRORS * (1 - 1e-9)]


def left_out(
    rate: str, key: str, asked: Sequence[float], trials: int, kind: str, possible: Sequence[float] | None = None
) -> str:
    """A sentence on the operating points that a number of trials does not support; empty if it supports all.

    Args:
        rate: name of the error rate, such as `FPIR`.
        key: the config key that sets the operating points.
        asked: error rates in (0, 1).
        trials: number of trials.
        kind: what they are, in the plural, such as `impostor pairs`.
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
        f"{trials:,} {kind} do not support {rate} {', '.join(missing)}, since {LEAST_ERRORS} errors must be expected "
        f"at an operating point (rule of 30); {instead}."
    )


def rate_text(rate: float) -> str:
    """A rate as in the names of metrics: `1e-2` for 0.01."""
    mantissa, exponent = f"{rate:e}".split("e")
    digits = mantissa.rstrip("0").rstrip(".")
    return f"{digits}e{int(exponent)}"
