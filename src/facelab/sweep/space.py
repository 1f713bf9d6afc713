"""What a search may choose from: one dimension for each swept key."""

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
    """What one key may be."""

    @property
    @abstractmethod
    def text(self) -> str:
        """For people, such as `0.0001 to 0.01, logarithmic`."""

    @property
    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """What Optuna draws from; its values are those that `override` takes."""

    @abstractmethod
    def override(self, drawn: str | float) -> str:
        """The text of a drawn value, as it stands behind `key=` on the command line."""


@dataclass(frozen=True)
class Choice(Dimension):
    """Values without an order.

    Args:
        texts: the values as they stand on the command line, each once.
    """

    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        """`cnn, gan`."""
        return ", ".join(self.texts)

    @property
    def distribution(self) -> CategoricalDistribution:
        """Of the texts."""
        return CategoricalDistribution(self.texts)

    def override(self, drawn: str | float) -> str:
        """As it is."""
        return str(drawn)


@dataclass(frozen=True)
class Range(Dimension):
    """Equally spaced numbers.

    Args:
        texts: the numbers as they stand on the command line, in order, two or more.
    """

    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        """`8 values from 16 to 128, equally spaced`."""
        return f"{len(self.texts)} values from {self.texts[0]} to {self.texts[-1]}, equally spaced"

    @property
    def distribution(self) -> IntDistribution:
        """Of the numbers' places in the range: sums of a step such as 0.1 would not be the numbers that Hydra lists."""
        return IntDistribution(0, len(self.texts) - 1)

    def override(self, drawn: str | float) -> str:
        """The number at a place."""
        return self.texts[int(drawn)]


@dataclass(frozen=True)
class Interval(Dimension):
    """All numbers between two, with both ends.

    Args:
        low: lower end.
        high: upper end.
        logarithmic: whether each factor of 10 is as likely as the next.
        whole: whole numbers only.
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
        """Of the numbers themselves."""
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.logarithmic)
        return FloatDistribution(self.low, self.high, log=self.logarithmic)

    def override(self, drawn: str | float) -> str:
        """The number; to six digits if it is not whole, which people can read and training cannot tell apart."""
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
        ConfigError: an axis is empty, no search can be made over it, or it is not an axis.
    """
    return {axis_name(axis): _dimension(axis) for axis in axes}


def _dimension(axis: Override) -> Dimension:
    name, swept, line = axis_name(axis), axis.value(), axis.input_line
    if name in REPLICATES:
        raise ConfigError(
            f"{line}: a search has no replicates, it would pick the luckiest of them. Give one value in a search; "
            f"afterwards train its best trial with several: -m +<folder>=best {name}=..."
        )
    if isinstance(swept, IntervalSweep):
        return _interval(swept, line)
    tags = sorted(swept.tags) if isinstance(swept, ChoiceSweep | RangeSweep) else []
    if tags:
        raise ConfigError(f"{line}: tag({', '.join(tags)}) says nothing here. Only intervals are tagged.")
    if isinstance(swept, ChoiceSweep | RangeSweep):  # shuffled, the same search would not be the same twice
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
    """A listed value as it stands on the command line."""
    text = Transformer.str(value)
    if isinstance(value, str):  # what str(1,2) lists would be read as numbers
        read = OverridesParser.create().parse_override(f"key={text}").value()
        if read != value or not isinstance(read, str):
            return QuotedString(value, Quote.single).with_quotes()
    return text
