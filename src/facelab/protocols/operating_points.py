"""Which operating points a number of trials supports."""

from collections.abc import Sequence

LEAST_ERRORS = 30


def supported(targets: Sequence[float], trials: int) -> list[float]:
    """The error rates at which `trials` are expected to give at least 30 errors, the rule of 30.

    With 30 errors, the true rate is within 30 % of the observed one with 90 % confidence, if trials are independent
    (Doddington, Przybocki, Martin and Reynolds, "The NIST speaker recognition evaluation", 2000).

    Args:
        targets: error rates in (0, 1].
        trials: number of trials that can fail, such as impostor pairs for a FAR.
    """
    return [target for target in targets if target * trials >= LEAST_ERRORS * (1 - 1e-9)]


def rate_text(rate: float) -> str:
    """A rate as in the names of metrics: `1e-2` for 0.01."""
    mantissa, exponent = f"{rate:e}".split("e")
    digits = mantissa.rstrip("0").rstrip(".")
    return f"{digits}e{int(exponent)}"
