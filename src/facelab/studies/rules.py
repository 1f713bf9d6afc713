"""Rules by which a study's paired differences become its verdict."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from facelab.compare.statistics import Difference
from facelab.studies.grid import Pair

OPEN = "open, runs are missing"
_P = 0.05

Arms = Annotated[list[str], Field(min_length=1)]
Points = Annotated[float, Field(ge=0)]
Found = Mapping[Pair, tuple[Difference | None, float | None]]


@dataclass(frozen=True)
class Interval:
    """A difference that enough replicates support.

    Args:
        low: lower end of the 95 % interval, in points.
        mean: in points.
        high: upper end, in points.
        is_significant: whether p, corrected for all differences that decide, is below 0.05, or the difference is the
            same in all replicates, so that there is none.
    """

    low: float
    mean: float
    high: float
    is_significant: bool


class Rule(ABC):
    """Which arms are compared, and what their differences say."""

    @property
    @abstractmethod
    def arms(self) -> list[str]:
        """All arms that the rule names."""

    @abstractmethod
    def pairs(self, conditions: Sequence[str]) -> list[Pair]:
        """The differences that decide, the first arm less the second."""

    @abstractmethod
    def verdict(self, found: Found, planned: int) -> dict[str, str]:
        """Answers by what they are about: a condition, an arm, or the study as a whole, which is ''.

        Args:
            found: difference of each of `pairs`, and its corrected p.
            planned: number of replicates that an answer needs.
        """


@dataclass(frozen=True)
class BetterThanAll(Rule):
    """Is one arm better than every other? An answer for each condition.

    Yes if the interval of every difference lies above 0, every corrected p is below 0.05, and the smallest mean is at
    least the margin; no if the interval of one lies below the margin as a whole; else undecided.

    Args:
        kind: of the rule.
        arm: that is asked about.
        others: that it must exceed.
        margin_points: in points.
    """

    kind: Literal["better_than_all"]
    arm: str
    others: Arms
    margin_points: Points

    @property
    def arms(self) -> list[str]:
        """The arm, then the others."""
        return [self.arm, *self.others]

    def pairs(self, conditions: Sequence[str]) -> list[Pair]:
        """The arm less each of the others."""
        return [(self.arm, other, condition) for other in self.others for condition in conditions]

    def verdict(self, found: Found, planned: int) -> dict[str, str]:
        """An answer for each condition."""
        conditions = dict.fromkeys(condition for _, _, condition in found)
        return {
            condition: self._answer(_known(found, [(self.arm, other, condition) for other in self.others], planned))
            for condition in conditions
        }

    def _answer(self, known: Sequence[Interval] | None) -> str:
        if known is None:
            return OPEN
        if any(one.high < self.margin_points for one in known):
            return "no"
        above = all(one.low > 0 and one.is_significant for one in known)
        return "yes" if above and min(one.mean for one in known) >= self.margin_points else "undecided"


@dataclass(frozen=True)
class AnyGains(Rule):
    """Does any arm gain over a baseline? One answer.

    Yes if under a condition an arm's mean difference is at least `gain_points`, its interval lies above 0, and its
    corrected p is below 0.05; no if every interval lies below `no_gain_points`; else undecided.

    Args:
        kind: of the rule.
        baseline: arm that the others are compared with.
        others: arms that may gain.
        gain_points: in points.
        no_gain_points: in points.
    """

    kind: Literal["any_gains"]
    baseline: str
    others: Arms
    gain_points: Points
    no_gain_points: Points

    @property
    def arms(self) -> list[str]:
        """The baseline, then the others."""
        return [self.baseline, *self.others]

    def pairs(self, conditions: Sequence[str]) -> list[Pair]:
        """Each of the others less the baseline."""
        return [(other, self.baseline, condition) for other in self.others for condition in conditions]

    def verdict(self, found: Found, planned: int) -> dict[str, str]:
        """One answer."""
        known = _known(found, list(found), planned)
        if known is None:
            return {"": OPEN}
        if any(one.mean >= self.gain_points and one.low > 0 and one.is_significant for one in known):
            return {"": "yes"}
        return {"": "no" if all(one.high < self.no_gain_points for one in known) else "undecided"}


@dataclass(frozen=True)
class EachPays(Rule):
    """Which parts of a whole pay? Each arm leaves a part out; an answer for each of them.

    A part pays if under a condition the whole exceeds the arm without it: the interval lies above 0, and the corrected
    p is below 0.05. It does not pay if under every condition the interval lies below `margin_points`; else undecided.

    Args:
        kind: of the rule.
        whole: arm with all parts.
        others: arms that leave a part out.
        margin_points: in points.
    """

    kind: Literal["each_pays"]
    whole: str
    others: Arms
    margin_points: Points

    @property
    def arms(self) -> list[str]:
        """The whole, then the others."""
        return [self.whole, *self.others]

    def pairs(self, conditions: Sequence[str]) -> list[Pair]:
        """The whole less each of the others."""
        return [(self.whole, other, condition) for other in self.others for condition in conditions]

    def verdict(self, found: Found, planned: int) -> dict[str, str]:
        """An answer for each arm that leaves a part out."""
        return {
            other: self._answer(_known(found, [pair for pair in found if pair[1] == other], planned))
            for other in self.others
        }

    def _answer(self, known: Sequence[Interval] | None) -> str:
        if known is None:
            return OPEN
        if any(one.low > 0 and one.is_significant for one in known):
            return "pays"
        return "does not pay" if all(one.high < self.margin_points for one in known) else "undecided"


def points(found: Difference) -> tuple[float, float, float]:
    """Lower end, mean and upper end in points, whose interval is their mean alone if it is unknown."""
    mean, half_width = 100 * found.estimate.mean, 100 * (found.estimate.half_width or 0.0)
    # Shares are fractions of few images, so a mean can lie exactly on a margin, but for the rounding of its sum.
    low, mean, high = (round(value, 9) for value in (mean - half_width, mean, mean + half_width))
    return low, mean, high


def _known(found: Found, pairs: Sequence[Pair], planned: int) -> list[Interval] | None:
    """The differences of some pairs; None if one of them lacks a replicate, or its interval is unknown."""
    known = []
    for pair in pairs:
        one, p = found[pair]
        if one is None or one.estimate.n < planned or one.estimate.half_width is None:
            return None
        known.append(Interval(*points(one), is_significant=p is None or p < _P))
    return known
