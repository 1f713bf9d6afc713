"""The space of a search: one dimension for each swept key."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    ParsedElementType,
    Quote,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from facelab.errors import ConfigError
from facelab.sweep.plan import axis_name

REPLICATES = ("seed", "split.seed", "split.fold")
_LOGARITHMIC_FROM = 100.0  # high / low
_DIGITS = 6


class Dimension(ABC):
    """The possible values of one key."""

    @property
    @abstractmethod
    def text(self) -> str:
        """Description, such as `0.0001 to 0.01, logarithmic`."""

    @property
    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """Optuna's distribution to draw from; `override` takes its values."""

    @abstractmethod
    def override(self, drawn: str | float) -> str:
        """Text of a drawn value, as after `key=` on the command line."""


@dataclass(frozen=True)
class Choice(Dimension):
    """Unordered values.

    Args:
        texts: the distinct values, as text of the command line.
    """

    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        """`cnn, gan`."""
        return ", ".join(self.texts)

    @property
    def distribution(self) -> CategoricalDistribution:
        """Categorical distribution over the texts."""
        return CategoricalDistribution(self.texts)

    def override(self, drawn: str | float) -> str:
        """The drawn text."""
        return str(drawn)


@dataclass(frozen=True)
class Range(Dimension):
    """Equally spaced numbers.

    Args:
        texts: two or more numbers, in order, as text of the command line.
    """

    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        """`8 values from 16 to 128, equally spaced`."""
        return f"{len(self.texts)} values from {self.texts[0]} to {self.texts[-1]}, equally spaced"

    @property
    def distribution(self) -> IntDistribution:
        """Distribution over indices: sums of a step such as 0.1 would differ from the numbers that Hydra lists."""
        return IntDistribution(0, len(self.texts) - 1)

    def override(self, drawn: str | float) -> str:
        """The number at an index."""
        return self.texts[int(drawn)]


@dataclass(frozen=True)
class Interval(Dimension):
    """A closed interval of numbers.

    Args:
        low: lower end.
        high: upper end.
        logarithmic: whether to draw uniformly in the logarithm.
        whole: whether to draw integers only.
    """

    low: float
    high: float
    logarithmic: bool
    whole: bool

    @property
    def text(self) -> str:
        """`0.0001 to 0.01, logarithmic`."""
        ends = f"{self.low!r} to {self.high!r}"
        return ends + (", whole numbers" if self.whole else "") + (", logarithmic" if self.logarithmic else "")

    @property
    def distribution(self) -> FloatDistribution | IntDistribution:
        """Distribution over the numbers."""
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.logarithmic)
        return FloatDistribution(self.low, self.high, log=self.logarithmic)

    def override(self, drawn: str | float) -> str:
        """The number; rounded to six significant digits, for readability, if it is not an integer."""
        if self.whole:
            return str(int(drawn))
        rounded = float(f"{float(drawn):.{_DIGITS}g}")
        return repr(min(max(rounded, self.low), self.high))


Space = Mapping[str, Dimension]


def read_space(axes: Sequence[Override]) -> Space:
    """The dimensions of a search by their keys, in order.

    Args:
        axes: the swept overrides.

    Raises:
        ConfigError: an axis is empty, invalid, or cannot be searched over.
    """
    return {axis_name(axis): _dimension(axis) for axis in axes}


def _dimension(axis: Override) -> Dimension:
    name, swept, line = axis_name(axis), axis.value(), axis.input_line
    if name in REPLICATES:
        raise ConfigError(
            f"{line}: a search has no replicates, because it would select the luckiest one. Give one value, then "
            f"train the best trial with several: -m +<folder>=best {name}=..."
        )
    if isinstance(swept, IntervalSweep):
        return _interval(swept, line)
    tags = sorted(swept.tags) if isinstance(swept, ChoiceSweep | RangeSweep) else []
    if tags:
        raise ConfigError(f"{line}: tag({', '.join(tags)}) has no effect here. Only intervals can have tags.")
    if isinstance(swept, ChoiceSweep | RangeSweep):  # shuffled values would make the search irreproducible
        axis = dataclasses.replace(axis, _value=dataclasses.replace(swept, shuffle=False))
    try:
        texts = tuple(dict.fromkeys(map(_text, axis.sweep_iterator())))
    except (HydraException, ValueError) as error:
        raise ConfigError(f"{line}: {' '.join(str(error).split())}") from error
    if not texts:
        raise ConfigError(f"{line}: this axis is empty. Give it at least one value.")
    return Range(texts) if isinstance(swept, RangeSweep) and len(texts) > 1 else Choice(texts)


def _interval(swept: IntervalSweep, line: str | None) -> Interval:
    assert swept.start is not None
    assert swept.end is not None
    low, high = swept.start, swept.end
    unknown = sorted(swept.tags - {"log", "linear"})
    if unknown:
        raise ConfigError(f"{line}: unknown tag '{unknown[0]}'. Known are log and linear.")
    if len(swept.tags) == 2:
        raise ConfigError(f"{line}: an interval is either log or linear, not both.")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{line}: expected two finite numbers.")
    if low >= high:
        raise ConfigError(f"{line}: expected interval(low, high) with low below high, got {low:g} and {high:g}.")
    if "log" in swept.tags and low <= 0:
        raise ConfigError(f"{line}: a logarithmic interval must begin above 0, got {low:g}.")
    logarithmic = "log" in swept.tags or (low > 0 and high / low >= _LOGARITHMIC_FROM and "linear" not in swept.tags)
    return Interval(low, high, logarithmic, isinstance(low, int) and isinstance(high, int))


def _text(value: ParsedElementType) -> str:
    """A listed value, as text of the command line."""
    text = Transformer.str(value)
    if isinstance(value, str):  # the values of str(1,2) would be parsed as numbers
        read = OverridesParser.create().parse_override(f"key={text}").value()
        if read != value or not isinstance(read, str):
            return QuotedString(value, Quote.single).with_quotes()
    return text
