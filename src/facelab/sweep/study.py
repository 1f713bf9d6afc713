"""Record a search on disk as plain values, and rebuild it from them."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, TypeAdapter, ValidationError

from facelab.errors import ConfigError, TrackingError
from facelab.sweep.search import Search
from facelab.sweep.space import Space

Outcome = Literal["finished", "pruned", "failed"]
_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}
_QUOTED_CHARACTERS = 60

optuna.logging.set_verbosity(optuna.logging.ERROR)


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Begun(_Line):
    """The first line: identifies the search."""

    search: str
    metric: str
    direction: Literal["maximize", "minimize"]
    space: dict[str, str]


class _Drawn(_Line):
    """A trial was drawn."""

    trial: NonNegativeInt
    drawn: dict[str, str | int | FiniteFloat]


class _Validated(_Line):
    """A running trial was validated."""

    trial: NonNegativeInt
    images_seen: NonNegativeInt
    value: FiniteFloat


class _Ended(_Line):
    """A trial ended; `value` if it finished."""

    trial: NonNegativeInt
    ended: Outcome
    value: FiniteFloat | None = None


_LINES: TypeAdapter[_Begun | _Drawn | _Validated | _Ended] = TypeAdapter(_Begun | _Drawn | _Validated | _Ended)


@dataclass(frozen=True)
class Trial:
    """A config to evaluate.

    Args:
        number: from 0, in the order of drawing.
        overrides: its value of every key, as text of the command line.
    """

    number: int
    overrides: Mapping[str, str]


class RecordedStudy:
    """A search that records its trials and their outcomes on disk. Only one process at a time may use it.

    The file has one JSON object per line; the Optuna study that draws and prunes is rebuilt from it in memory.

    Args:
        path: its file, created if it does not exist; the folder must exist.
        name: of the search.
        search: algorithm and metric; without a direction, the metric is maximized.
        space: to draw from.

    Raises:
        ConfigError: the file belongs to a search with another space or metric.
        TrackingError: the file cannot be read or written, or does not record a search.
    """

    def __init__(self, path: Path, name: str, search: Search, space: Space) -> None:
        self._file, self._search, self._space = _Record(path), search, space
        self._distributions = {key: dimension.distribution for key, dimension in space.items()}
        direction: Literal["maximize", "minimize"] = search.direction or "maximize"
        self._study = optuna.create_study(direction=direction, sampler=search.sampler(space), pruner=search.pruner())
        self._asked: list[optuna.Trial] = []
        texts = {key: dimension.text for key, dimension in space.items()}
        now = _Begun(search=name, metric=search.metric, direction=direction, space=texts)
        lines = self._file.read()
        if lines:
            _refuse_another(lines[0], now, path)
        else:
            self._file.add(now)
        for number, line in enumerate(lines[1:], start=2):
            try:
                self._replay(line)
            except (ValueError, TypeError, IndexError) as error:
                raise self._file.damaged(number, f"a line that does not fit the previous ones: {error}") from error

    def ask(self) -> Trial | None:
        """Draw the next trial; None if all trials have been drawn.

        Raises:
            TrackingError: the file cannot be written.
        """
        if len(self._asked) >= self._search.total(self._space):
            return None
        trial = self._study.ask(self._distributions)
        self._file.add(_Drawn(trial=trial.number, drawn=trial.params))
        self._asked.append(trial)
        return Trial(trial.number, self._overrides(trial.params))

    def unfinished(self) -> list[Trial]:
        """Trials without an outcome, such as those of a killed process."""
        return [Trial(trial.number, self._overrides(trial.params)) for trial in self._trials(TrialState.RUNNING)]

    def tell(self, number: int, value: float) -> None:
        """Record the value of a finished trial; a trial that has ended already is not changed.

        Args:
            number: of the trial.
            value: of the metric; NaN and infinity make it a failed trial.

        Raises:
            TrackingError: the file cannot be written.
        """
        if math.isfinite(value):
            self._end(_Ended(trial=number, ended="finished", value=value))
        else:
            self.fail(number)

    def fail(self, number: int) -> None:
        """Record that a trial failed; the search ignores it.

        Raises:
            TrackingError: the file cannot be written.
        """
        self._end(_Ended(trial=number, ended="failed"))

    def prune(self, number: int) -> None:
        """Record that a trial was stopped early.

        Raises:
            TrackingError: the file cannot be written.
        """
        self._end(_Ended(trial=number, ended="pruned"))

    def should_prune(self, number: int, images_seen: int, value: float) -> bool:
        """Record a validation of a running trial; returns whether it should be stopped early.

        Args:
            number: of the trial.
            images_seen: at the validation. A trial resumed from a checkpoint may report validations again.
            value: of the metric; NaN is ignored.

        Raises:
            TrackingError: the file cannot be written.
        """
        trial = self._trials()[number]
        if trial.state.is_finished():
            return False
        if images_seen not in trial.intermediate_values and math.isfinite(value):
            line = _Validated(trial=number, images_seen=images_seen, value=value)
            self._file.add(line)
            self._replay(line)
        return self._asked[number].should_prune()

    def best(self) -> tuple[int, float, Mapping[str, str]] | None:
        """Number, value and overrides of the best finished trial, the first of equals; None if none has finished."""
        if not self._trials(TrialState.COMPLETE):
            return None
        trial = self._study.best_trial
        assert trial.value is not None
        return trial.number, trial.value, self._overrides(trial.params)

    def counts(self) -> dict[str, int]:
        """How many trials are `finished`, `pruned`, `failed` and `running`."""
        return {name: len(self._trials(state)) for name, state in _STATES.items()}

    def _end(self, line: _Ended) -> None:
        if not self._trials()[line.trial].state.is_finished():
            self._file.add(line)
            self._replay(line)

    def _replay(self, line: _Line) -> None:
        """Apply a recorded line to Optuna's study.

        Raises:
            ValueError, TypeError, IndexError: it does not fit the previous lines.
        """
        if isinstance(line, _Validated | _Ended) and self._trials()[line.trial].state.is_finished():
            raise ValueError(f"{line}, but this trial has ended")
        match line:
            case _Drawn(trial=number, drawn=drawn) if number == len(self._asked):
                _refuse_outside(drawn, self._distributions)
                self._study.enqueue_trial(drawn)
                self._asked.append(self._study.ask(self._distributions))
            case _Validated(trial=number, images_seen=images_seen, value=value):
                self._asked[number].report(value, images_seen)
            case _Ended(trial=number, ended="finished", value=float(value)):
                self._study.tell(self._asked[number], value)
            case _Ended(trial=number, ended="pruned" | "failed" as how):
                self._study.tell(self._asked[number], state=_STATES[how])
            case _:
                raise ValueError(str(line))

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _overrides(self, drawn: Mapping[str, Any]) -> dict[str, str]:
        return {key: dimension.override(drawn[key]) for key, dimension in self._space.items()}


class _Record:
    """The file of a search; lines are added atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[_Line]:
        """Read all lines; an incomplete last line, left by a crash or a full disk, is removed."""
        if self._path.is_symlink() or (self._path.exists() and not self._path.is_file()):
            raise TrackingError(f"{self._path}: expected a plain file, got a link or a device. Remove it.")
        try:
            content = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            raise self._unreachable(error) from error
        whole = content.rfind(b"\n") + 1
        found: list[_Line] = []
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                found.append(_LINES.validate_json(line))
            except ValidationError as error:
                raise self.damaged(number, repr(line[:_QUOTED_CHARACTERS].decode(errors="replace"))) from error
        if whole < len(content):  # only now: all lines are known to be valid
            os.truncate(self._path, whole)
        return found

    def add(self, line: _Line) -> None:
        """Append a line and flush it to disk."""
        try:
            with self._path.open("ab") as file:
                before = file.tell()
                try:
                    file.write(line.model_dump_json(exclude_none=True).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.truncate(self._path, before)
                    raise
        except OSError as error:
            raise self._unreachable(error) from error

    def damaged(self, number: int, found: str) -> TrackingError:
        return TrackingError(
            f"{self._path}, line {number}: expected the record of a search, a drawn trial, a validation or an outcome, "
            f"got {found}. Start a new search with another sweep.name."
        )

    def _unreachable(self, error: OSError) -> TrackingError:
        return TrackingError(f"{self._path} could not be read or written: {error}")


def _refuse_outside(drawn: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> None:
    if set(drawn) != set(distributions):
        raise ValueError(f"a trial of {', '.join(drawn)}")
    for key, value in drawn.items():
        match distributions[key]:
            case CategoricalDistribution(choices=choices):
                inside = value in choices
            case IntDistribution(low=low, high=high):
                inside = isinstance(value, int) and low <= value <= high
            case FloatDistribution(low=low, high=high):
                inside = low <= value <= high
        if not inside:
            raise ValueError(f"{key}={value}")


def _refuse_another(then: _Line, now: _Begun, path: Path) -> None:
    """Raise if the file belongs to a search with another name, space or metric."""
    if not isinstance(then, _Begun):
        raise _Record(path).damaged(1, str(then))
    if then.search != now.search:
        raise ConfigError(f"{path} holds another search, '{then.search}', and not '{now.search}'.")
    differences = []
    if then.metric != now.metric:
        differences.append(f"its metric is {then.metric}, and now {now.metric}")
    if then.direction != now.direction:
        differences.append(f"its direction is {then.direction}, and now {now.direction}")
    differences += _differences_of_space(then.space, now.space)
    if differences:
        raise ConfigError(
            f"sweep.name: there is another search of this name: {'; '.join(differences)} (in {path}). Choose another "
            "name, or give the same ranges, metric and direction; only search.trials may grow."
        )


def _differences_of_space(then: Mapping[str, str], now: Mapping[str, str]) -> Iterable[str]:
    for key in {**then, **now}:
        if key not in then:
            yield f"it did not search over {key}"
        elif key not in now:
            yield f"it searched over {key} ({then[key]}) too"
        elif then[key] != now[key]:
            yield f"its {key} is {then[key]}, and now {now[key]}"
