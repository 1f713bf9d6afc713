"""Searches: how trials are drawn, judged and kept, so that an interrupted search goes on as if nothing had happened."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import optuna
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from facelab.errors import ConfigError, TrackingError
from facelab.sweep.plan import axis_name
from facelab.sweep.space import Space

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
_IDENTITY = "facelab"
_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Search(ABC):
    """How a search draws its trials, and by what it judges them.

    Args:
        metric: of the validation faces, by which trials are compared.
        direction: whether more of it is better, or less.
        prune: whether a trial is stopped early when its best value so far is worse than the median of the finished
            trials at the same number of images seen.
        startup_trials: so many trials must have finished before any is stopped early.
        warmup_images: a trial is not stopped early before it has seen so many images.
    """

    metric: str = "val/f1"
    direction: Literal["maximize", "minimize"] = "maximize"
    prune: bool = True
    startup_trials: Count = 5
    warmup_images: Annotated[int, Field(ge=0)] = 0

    @abstractmethod
    def total(self, space: Space) -> int:
        """How many trials there are to be."""

    @abstractmethod
    def sampler(self, space: Space, draw: tuple[int, int], taken: Collection[tuple[Any, ...]]) -> BaseSampler:
        """What draws a trial.

        Args:
            space: to draw from.
            draw: number of the trial, and of the draw within it: equal draws after equal trials give equal values.
            taken: what the other trials drew, in the order of the space.
        """

    def check(self, space: Space, has_validation: bool, split_name: str) -> None:
        """See that the search can be made.

        Args:
            space: to draw from.
            has_validation: whether the split has validation pictures.
            split_name: of the split's class, for the message, such as `FewShot`.

        Raises:
            ConfigError: it cannot; with the reason.
        """
        if not space:
            raise ConfigError(
                "search: there is nothing to search over. Give at least one range with -m, such as "
                "'model.optimizer.lr=interval(1e-4,1e-2)' or model=cnn,cnn_arcface."
            )
        if not self.metric.startswith("val/"):
            raise ConfigError(
                f"search.metric={self.metric}: expected a metric of the validation faces, such as val/f1. A config "
                "that was chosen by the test faces would look better on them than it is."
            )
        if not has_validation:
            raise ConfigError(
                f"split: {split_name} has no validation faces to choose by, and choosing by the test faces would make "
                "the winner look better than it is. Search with split=ratio or split=kfold, and use the best config "
                f"with {split_name} afterwards."
            )


@dataclass(frozen=True)
class Drawn(Search):
    """A search whose trials are drawn at random, in whatever way, so that somebody must say how many.

    Args:
        trials: how many; more of them later go on with the same search.
        seed: of the draws.
    """

    trials: Count = 30
    seed: Seed = 0

    def total(self, space: Space) -> int:
        """As asked for."""
        return self.trials


@dataclass(frozen=True)
class TPE(Drawn):
    """Tree-structured Parzen estimator: draws where the better trials were dense and the worse ones were not.

    Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011; keys are drawn together. The first
    `startup_trials` are drawn evenly. Arguments as of `Drawn` and `Search`.
    """

    def sampler(self, space: Space, draw: tuple[int, int], taken: Collection[tuple[Any, ...]]) -> BaseSampler:
        """Trials that run count as bad ones, so that parallel ones keep apart."""
        return TPESampler(seed=_seed(self.seed, draw), n_startup_trials=self.startup_trials, constant_liar=True)


@dataclass(frozen=True)
class Random(Drawn):
    """Every trial is drawn evenly, whatever came out of the others. Arguments as of `Drawn` and `Search`."""

    def sampler(self, space: Space, draw: tuple[int, int], taken: Collection[tuple[Any, ...]]) -> BaseSampler:
        """Even draws."""
        return RandomSampler(seed=_seed(self.seed, draw))


@dataclass(frozen=True)
class CMAES(Drawn):
    """CMA-ES: draws from a normal distribution that moves and turns towards the better trials; numbers only.

    Hansen, The CMA Evolution Strategy: A Tutorial, 2016. It learns from whole generations, of 4 + 3 ln(keys) trials
    each, so it needs many; trials that were stopped early do not count. Arguments as of `Drawn` and `Search`.
    """

    trials: Count = 100

    def check(self, space: Space, has_validation: bool, split_name: str) -> None:
        """Besides, choices are refused."""
        super().check(space, has_validation, split_name)
        choices = [key for key, one in space.items() if isinstance(one.distribution, CategoricalDistribution)]
        if choices:
            raise ConfigError(
                f"search=cmaes: {', '.join(choices)} has no order, and CMA-ES moves along numbers only. Give an "
                "interval or a range, give one value, or choose search=tpe."
            )

    def sampler(self, space: Space, draw: tuple[int, int], taken: Collection[tuple[Any, ...]]) -> BaseSampler:
        """Its generations are kept in the storage."""
        return CmaEsSampler(seed=_seed(self.seed, draw), warn_independent_sampling=False)


@dataclass(frozen=True)
class Grid(Search):
    """Every combination once, the last key running fastest. Further arguments as of `Search`.

    Args:
        trials: how many of them at most; null for all.
    """

    trials: Count | None = None

    def total(self, space: Space) -> int:
        """As asked for, or as many as there are."""
        points = math.prod(len(values) for values in _grid(space))
        return points if self.trials is None else min(self.trials, points)

    def check(self, space: Space, has_validation: bool, split_name: str) -> None:
        """Besides, intervals are refused."""
        super().check(space, has_validation, split_name)
        endless = [key for key, one in space.items() if isinstance(one.distribution, FloatDistribution)]
        if endless:
            raise ConfigError(
                f"search=grid: {endless[0]}={space[endless[0]].text} has no steps. Give "
                f"{endless[0]}=range(low,high,step) or list values, or choose search=tpe."
            )

    def sampler(self, space: Space, draw: tuple[int, int], taken: Collection[tuple[Any, ...]]) -> BaseSampler:
        """The first combination that no other trial has."""
        free = next(point for point in itertools.product(*_grid(space)) if point not in taken)
        return _Point(dict(zip(space, free, strict=True)))


class _Point(BaseSampler):
    """Draws what it was given."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        self._point = point

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._point[param_name]


@dataclass(frozen=True)
class Trial:
    """A config to be tried.

    Args:
        number: from 0, in the order of asking.
        overrides: its value of every key, as texts of the command line.
    """

    number: int
    overrides: Mapping[str, str]


class Study:
    """A search as it is kept on disk: what was drawn and what came out. One process at a time may have it.

    Args:
        path: of its file, which is made if it does not exist; its folder must.
        name: of the search.
        search: how to draw and judge.
        space: to draw from.

    Raises:
        ConfigError: the file is of a search over another space, or by another metric.
        TrackingError: the file cannot be read or written.
    """

    def __init__(self, path: Path, name: str, search: Search, space: Space) -> None:
        self._path, self._search, self._space = path, search, space
        identity = {
            "metric": search.metric,
            "direction": search.direction,
            "space": {key: dimension.text for key, dimension in space.items()},
        }
        with self._reaching():
            _cut_unfinished_line(path)
            try:
                self._storage = JournalStorage(JournalFileBackend(str(path), _Lock(path)))
                kept = [study.study_name for study in self._storage.get_all_studies()]
                if kept and kept != [name]:
                    raise ConfigError(f"{path} holds another search, '{kept[0]}', and not '{name}'.")
                make = optuna.load_study if kept else partial(optuna.create_study, direction=search.direction)
                self._study = make(storage=self._storage, study_name=name)
            except (ValueError, KeyError) as error:
                raise TrackingError(
                    f"{path} is damaged: {error}. Move it away and start the search again under another sweep.name."
                ) from error
            if _IDENTITY not in self._study.user_attrs:
                self._study.set_user_attr(_IDENTITY, identity)
            _refuse_another(self._study.user_attrs[_IDENTITY], identity, path)
            self._pruner = optuna.pruners.MedianPruner(search.startup_trials, search.warmup_images)
            for trial in self._trials(TrialState.RUNNING):
                if len(trial.params) < len(space):  # the process died while it drew
                    self._draw(optuna.trial.Trial(self._study, trial._trial_id))

    def ask(self) -> Trial | None:
        """The next config to try; None if there are as many trials as there should be.

        Raises:
            TrackingError: the file cannot be written.
        """
        with self._reaching():
            number = len(self._trials())
            if number >= self._search.total(self._space):
                return None
            return self._draw(self._study.ask())

    def _draw(self, trial: optuna.Trial) -> Trial:
        # A sampler of its own for every draw: the state of its random numbers is not in the storage, and a draw after
        # a restart must be the one that would have been.
        taken = {
            tuple(other.params.get(key) for key in self._space)
            for other in self._trials()
            if other.number != trial.number
        }
        self._study.sampler = self._search.sampler(self._space, (trial.number, 0), taken)
        _ = trial.relative_params  # drawn together, before any is written down
        for place, (key, dimension) in enumerate(self._space.items(), start=1):
            self._study.sampler = self._search.sampler(self._space, (trial.number, place), taken)
            trial._suggest(key, dimension.distribution)
        return Trial(trial.number, self._overrides(trial.params))

    def unfinished(self) -> list[Trial]:
        """Trials that were asked for and never told, as a killed process leaves them."""
        return [Trial(trial.number, self._overrides(trial.params)) for trial in self._trials(TrialState.RUNNING)]

    def tell(self, number: int, value: float) -> None:
        """Say what came out of a trial; one that has ended already stays as it is.

        Args:
            number: of the trial.
            value: of the metric; NaN and infinity make it a failed trial.

        Raises:
            TrackingError: the file cannot be written.
        """
        if not math.isfinite(value):
            self.fail(number)
            return
        with self._reaching():
            self._study.tell(number, value, skip_if_finished=True)

    def fail(self, number: int) -> None:
        """Say that a trial failed; the search goes on without its result.

        Raises:
            TrackingError: the file cannot be written.
        """
        with self._reaching():
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def prune(self, number: int) -> None:
        """Say that a trial was stopped early.

        Raises:
            TrackingError: the file cannot be written.
        """
        with self._reaching():
            self._study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def should_prune(self, number: int, images_seen: int, value: float) -> bool:
        """Whether a trial that runs should be stopped early.

        Args:
            number: of the trial.
            images_seen: by it, when it was validated. What was reported before, a trial that goes on from a checkpoint
                may report again.
            value: of the metric at that moment; NaN says nothing.

        Raises:
            TrackingError: the file cannot be written.
        """
        with self._reaching():
            trial = self._trials()[number]
            if trial.state.is_finished():
                return False
            if images_seen not in trial.intermediate_values and not math.isnan(value):
                self._storage.set_trial_intermediate_value(trial._trial_id, images_seen, value)
            return self._search.prune and self._pruner.prune(self._study, self._trials()[number])

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

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _overrides(self, drawn: Mapping[str, Any]) -> dict[str, str]:
        return {key: dimension.override(drawn[key]) for key, dimension in self._space.items()}

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrackingError(f"{self._path} could not be read or written: {error}") from error


class _Lock(JournalFileOpenLock):
    """A lock that ends with the process that holds it: Optuna's own outlive a killed one for half a minute."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def _seed(seed: int, draw: tuple[int, int]) -> int:
    return int(np.random.SeedSequence([seed, *draw]).generate_state(1)[0])


def _grid(space: Space) -> list[Sequence[Any]]:
    """All values of every dimension, as they are drawn."""
    values: list[Sequence[Any]] = []
    for dimension in space.values():
        distribution = dimension.distribution
        if isinstance(distribution, CategoricalDistribution):
            values.append(distribution.choices)
        else:
            whole = cast(optuna.distributions.IntDistribution, distribution)
            values.append(range(whole.low, whole.high + 1))
    return values


def _cut_unfinished_line(path: Path) -> None:
    """A line that a full disk or a lost machine left half written would spoil the one after it."""
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])


def _refuse_another(then: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """A study goes on with the space and the metric that it began with."""
    differences = [
        f"its {name} is {then[name]}, and now {now[name]}"
        for name in ("metric", "direction")
        if then[name] != now[name]
    ]
    for key in {**then["space"], **now["space"]}:
        before, after = then["space"].get(key), now["space"].get(key)
        if before is None:
            differences.append(f"it did not search over {key}")
        elif after is None:
            differences.append(f"it searched over {key} ({before}) too")
        elif before != after:
            differences.append(f"its {key} is {before}, and now {after}")
    if differences:
        raise ConfigError(
            f"sweep.name: the search of this name is another one: {'; '.join(differences)} (in {path}). Choose another "
            "name, or give the same ranges, metric and direction; search.trials may grow."
        )


def overlay(overrides: Mapping[str, str], fixed: Sequence[str], command: str, groups: Collection[str]) -> str:
    """A trial's config as an experiment, for `python train.py +<folder>=<file>`.

    Args:
        overrides: of the trial, as texts of the command line by key.
        fixed: the other overrides of the sweep, whole, such as `split=kfold` or `+few_shot=sweep`; of equal keys the
            last holds.
        command: with which the search was made.
        groups: names of the config groups, such as `model`.

    Returns:
        The text of the YAML file.
    """
    parsed = OverridesParser.create().parse_overrides([*fixed, *(f"{key}={text}" for key, text in overrides.items())])
    added: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    body = OmegaConf.create({})
    beyond = []
    for override in parsed:
        name, value = axis_name(override), override.value()
        is_group = override.key_or_group in groups or "/" in name
        if is_group and override.is_delete():
            chosen[name] = None
        elif is_group:
            chosen[name] = value
        elif override.is_add() and "." not in name:  # an experiment; every other root key exists
            added[name] = value
        elif override.is_delete() or any(part.isdigit() for part in name.split(".")):
            beyond.append(override.input_line or "")
        else:
            OmegaConf.update(body, name, value, force_add=True)
    defaults = [{f"/{name}": value} for name, value in added.items()]
    defaults += [{f"override /{name}": value} for name, value in chosen.items()]
    if added:
        body = cast(Any, OmegaConf.merge(body, {"hydra": {"mode": "RUN"}}))  # the experiment itself may be a sweep
    lines = ["# @package _global_", f"# The best trial of: {' '.join(command.split())}"]
    lines += [f"# What no file can say, give on the command line besides: {line}" for line in beyond]
    text = "\n".join(lines) + "\n"
    if defaults:
        text += OmegaConf.to_yaml(OmegaConf.create({"defaults": defaults}))
    return text + (OmegaConf.to_yaml(body) if body else "")
