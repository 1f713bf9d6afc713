"""What a sweep is to do: its axes, its points, and the jobs they make."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from facelab.config.identity import NO_PART_OF_A_RUN
from facelab.errors import ConfigError
from facelab.runs.dependencies import Dependency

_SHORT = {"split.train_per_identity": "k", "split.seed": "split", "split.fold": "fold"}
_NAMED_CHARACTERS = 40
_SHARED = ("tracking", "sweep", "executor", "search", "resume", "hydra")


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Args:
        point: its value on every axis, as texts of the command line.
        config: checked, plain dicts and lists.
        choices: which file of each config group was chosen.
        needs: further runs that it needs, by what they are to it.
        trial: its number in a search; None outside one.
    """

    point: Mapping[str, str]
    config: dict[str, Any]
    choices: Mapping[str, str]
    dependencies: Mapping[str, Dependency]
    trial: int | None = None

    @property
    def name(self) -> str:
        """What tells it from the others: such as `cnn · k=3 · seed=1`, or `cnn · trial 7 · lr=0.002`."""
        parts = [self.choices.get("model", "model")]
        parts += [] if self.trial is None else [f"trial {self.trial}"]
        for key, value in self.point.items():
            if key != "model":
                parts.append(f"{_SHORT.get(key, key.rpartition('.')[2])}={value[:_NAMED_CHARACTERS]}")
        return " · ".join(parts)


@dataclass(frozen=True)
class Plan:
    """A sweep as it was asked for.

    Args:
        axes: the swept overrides.
        fixed: the others; of each key the last.
        command: that asked for it.
        job: composes and checks the job of a list of overrides and its point; raises ConfigError.
        searching: whether the values are drawn by a search, and not all combined.
    """

    axes: list[Override]
    fixed: list[Override]
    command: str
    job: Callable[[Sequence[str], Mapping[str, str]], Job]
    searching: bool = False

    @property
    def lasting(self) -> list[str]:
        """The fixed overrides that say what is trained, and not where or how, as they were given."""
        return [
            override.input_line or ""
            for override in self.fixed
            if axis_name(override).split(".")[0] not in (*NO_PART_OF_A_RUN, "hydra")
        ]

    @property
    def identity(self) -> list[str]:
        """The fixed overrides that make this sweep another one than those of the same axes, sorted."""
        return sorted(self.lasting)

    @property
    def default_name(self) -> str:
        """Made of the axes and what is fixed: the same command finds its sweep again."""
        names = [axis_name(axis) for axis in self.axes]
        text = json.dumps([sorted(names), self.identity, self.searching])
        experiments = [axis_name(one) for one in self.fixed if one.is_add() and "." not in axis_name(one)]
        words = experiments or [name.rpartition(".")[2].rpartition("/")[2] for name in names] or ["single"]
        return f"{'-'.join(words)}-{hashlib.sha256(text.encode()).hexdigest()[:4]}"

    def compose(self, point: Mapping[str, str], trial: int | None = None) -> Job:
        """The job of a point.

        Raises:
            ConfigError: its config is wrong.
        """
        elements = {axis_name(axis): axis.get_key_element() for axis in self.axes}
        chosen = [override.input_line or "" for override in self.fixed]
        chosen += [f"{elements[name]}={value}" for name, value in point.items()]
        job = self.job(chosen, point)
        return Job(job.point, job.config, job.choices, job.dependencies, trial)


def divide(overrides: Sequence[Override]) -> tuple[list[Override], list[Override]]:
    """The swept overrides, and the fixed ones; where a key comes twice, its last override holds, in the first's place.

    Raises:
        ConfigError: a key is swept that all runs of a sweep must share.
    """
    by_key: dict[str, Override] = {}
    for override in overrides:
        by_key[axis_name(override)] = override
    axes = [override for override in by_key.values() if override.is_sweep_override()]
    for name in map(axis_name, axes):
        if name.split(".")[0] in _SHARED or name == "runtime.runs_folder":
            raise ConfigError(f"{name}: all runs of a sweep share one value. Give one, not several.")
    return axes, [override for override in by_key.values() if not override.is_sweep_override()]


def axis_name(override: Override) -> str:
    """The key without Hydra's `+` or `~`."""
    return override.get_key_element().lstrip("+~")


def values(axis: Override) -> list[str]:
    """The values of an axis, as texts of the command line, each once.

    Raises:
        ConfigError: it has none, or they cannot be listed.
    """
    name = axis_name(axis)
    if axis.is_interval_sweep():
        raise ConfigError(
            f"{axis.input_line}: an interval has no list of values. Draw from it with search=tpe (random, cmaes), or "
            f"list values: {name}=a,b,c."
        )
    try:
        found = list(dict.fromkeys(axis.sweep_string_iterator()))
    except HydraException as error:
        raise ConfigError(f"{axis.input_line}: {' '.join(str(error).split())}") from error
    if not found:
        raise ConfigError(f"{axis.input_line}: this axis is empty. Give it at least one value.")
    return found


def points(axes: Sequence[Override]) -> Iterator[dict[str, str]]:
    """All combinations of the values, the last axis running fastest.

    Raises:
        ConfigError: an axis has no values.
    """
    listed = [values(axis) for axis in axes]
    for combination in itertools.product(*listed):
        yield dict(zip(map(axis_name, axes), combination, strict=True))
