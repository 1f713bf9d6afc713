"""The plan of a sweep: its axes, points and jobs."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException

from facelab.config.identity import NO_PART_OF_A_RUN, config_hash
from facelab.errors import ConfigError
from facelab.runs.dependencies import Dependency, initial_weights
from facelab.tracking import ChildRow

_SHORT = {"split.train_per_identity": "k", "split.seed": "split", "split.fold": "fold"}
_NAMED_CHARACTERS = 40
_OF_A_SWEEP = ("sweep", "executor", "search", "resume", "hydra")
_SHARED = ("tracking", "sweep", "executor", "search", "resume", "hydra")


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Args:
        point: its value on every axis, as text of the command line.
        config: checked, plain dicts and lists.
        choices: the file chosen in each config group.
        dependencies: runs that it depends on, by role.
        overrides: of the command line that makes it alone.
        trial: its number in a search; None outside one.
    """

    point: Mapping[str, str]
    config: dict[str, Any]
    choices: Mapping[str, str]
    dependencies: Mapping[str, Dependency]
    overrides: Sequence[str] = ()
    trial: int | None = None

    @property
    def name(self) -> str:
        """Name of its run, such as `cnn · k=3 · seed=1` or `cnn · trial 7 · lr=0.002`."""
        parts = [self.choices.get("model", "model")]
        parts += [] if self.trial is None else [f"trial {self.trial}"]
        for key, value in self.point.items():
            if key != "model":
                parts.append(
                    f"{_SHORT.get(key, key.rpartition('.')[2].rpartition('/')[2])}={value[:_NAMED_CHARACTERS]}"
                )
        return " · ".join(parts)

    def made(self, row: ChildRow) -> bool:
        """Whether a recorded run has the config of this job, and those of the runs that it needs; must be resolved.

        And its initial weights, if it has any.
        """
        same = row.config_hash == config_hash(self.config)
        return same and not self.changed_needs(row) and not self.has_other_weights(row)

    def has_other_weights(self, row: ChildRow) -> bool:
        """Whether the file that `model.init_from` names has changed since a run started from it."""
        return bool(row.initial_weights) and initial_weights(self.config) not in (None, row.initial_weights)

    def changed_needs(self, row: ChildRow) -> list[str]:
        """Roles of the needed runs whose configs are not those that a run has recorded, if it has recorded any."""
        threads = self.config["trainer"]["threads"]
        return [
            role
            for role, dependency in self.dependencies.items()
            if role in row.needs and row.needs[role] not in dependency.with_threads(threads).hashes
        ]


@dataclass(frozen=True)
class Plan:
    """Axes and fixed overrides of a sweep.

    Args:
        axes: the swept overrides.
        fixed: the other overrides; the last one of each key.
        command: that started the sweep.
        job: composes and checks a job from a list of overrides and its point; raises ConfigError.
        sampler: algorithm and seed of a search, such as `TPE 0`; empty if all values are combined.
    """

    axes: list[Override]
    fixed: list[Override]
    command: str
    job: Callable[[Sequence[str], Mapping[str, str]], Job]
    sampler: str = ""

    @property
    def searching(self) -> bool:
        """Whether a search draws the values; otherwise all are combined."""
        return bool(self.sampler)

    @property
    def lasting(self) -> list[str]:
        """The fixed overrides that can change results, in the given order."""
        return [
            override.input_line or ""
            for override in self.fixed
            if axis_name(override).split(".")[0] not in (*NO_PART_OF_A_RUN, "hydra")
        ]

    @property
    def identity(self) -> list[str]:
        """The fixed overrides that distinguish this sweep from others with the same axes, sorted."""
        return sorted(self.lasting)

    @property
    def default_name(self) -> str:
        """Name made of axes, fixed overrides and sampler, so that the same command finds its sweep again."""
        names = [axis_name(axis) for axis in self.axes]
        text = json.dumps([sorted(names), self.identity, self.sampler or False])
        experiments = [axis_name(one) for one in self.fixed if one.is_add() and "." not in axis_name(one)]
        words = experiments or [name.rpartition(".")[2].rpartition("/")[2] for name in names] or ["single"]
        return f"{'-'.join(words)}-{hashlib.sha256(text.encode()).hexdigest()[:4]}"

    def compose(self, point: Mapping[str, str], trial: int | None = None) -> Job:
        """Compose the job of a point.

        Raises:
            ConfigError: its config is invalid.
        """
        chosen = [override.input_line or "" for override in self.fixed]
        chosen += [f"{key}={value}" for key, value in self.typed(point).items()]
        return replace(self.job(chosen, point), overrides=self._alone(chosen), trial=trial)

    def typed(self, point: Mapping[str, str]) -> dict[str, str]:
        """A point by the keys as they are typed, with Hydra's `+` where the axes have it."""
        elements = {axis_name(axis): axis.get_key_element() for axis in self.axes}
        return {elements[name]: value for name, value in point.items()}

    def _alone(self, chosen: Sequence[str]) -> list[str]:
        """The overrides without those of the sweep; an experiment that is a sweep runs once."""
        experiments = any(one.is_add() and "." not in axis_name(one) for one in self.fixed)
        kept = [text for text in chosen if text.lstrip("+~").split("=")[0].split(".")[0] not in _OF_A_SWEEP]
        return [*kept, *(["hydra.mode=RUN"] if experiments else [])]


def divide(overrides: Sequence[Override]) -> tuple[list[Override], list[Override]]:
    """Divide overrides into swept and fixed ones. For repeated keys the last override holds, in the first's place.

    Raises:
        ConfigError: a key is swept that all runs of a sweep must share.
    """
    by_key: dict[str, Override] = {}
    for override in overrides:
        by_key[axis_name(override)] = override
    axes = [override for override in by_key.values() if override.is_sweep_override()]
    for name in map(axis_name, axes):
        if name.split(".")[0] in _SHARED or name == "runtime.runs_folder":
            raise ConfigError(f"{name}: this key cannot be swept. Give one value.")
    return axes, [override for override in by_key.values() if not override.is_sweep_override()]


def axis_name(override: Override) -> str:
    """The key without Hydra's `+` or `~`."""
    return override.get_key_element().lstrip("+~")


def values(axis: Override) -> list[str]:
    """The distinct values of an axis, as text of the command line.

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


def first_point(axes: Sequence[Override]) -> dict[str, str]:
    """The first value of every axis, of an interval its low end.

    Raises:
        ConfigError: an axis has no values.
    """
    return {axis_name(axis): _low_end(axis) if axis.is_interval_sweep() else values(axis)[0] for axis in axes}


def _low_end(axis: Override) -> str:
    return repr(cast(IntervalSweep, axis.value()).start)


def points(axes: Sequence[Override]) -> Iterator[dict[str, str]]:
    """All combinations of the values; the last axis varies fastest.

    Raises:
        ConfigError: an axis has no values.
    """
    listed = [values(axis) for axis in axes]
    for combination in itertools.product(*listed):
        yield dict(zip(map(axis_name, axes), combination, strict=True))
