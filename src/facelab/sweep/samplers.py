"""What draws the trials of a search, as samplers of Optuna.

A draw depends on the trials so far and its own number alone: a search that is rebuilt from its record draws what it
would have drawn.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cmaes
import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

Number = FloatDistribution | IntDistribution


class SeededSampler(BaseSampler):
    """One of Optuna's samplers, made anew for each trial: the state of its random numbers is not in the record.

    Args:
        make: makes it from a seed.
        seed: of the search.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._sampler = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Make it for this trial."""
        self._sampler = self._make(_seed_of(self._seed, trial.number))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What it draws together."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Together."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """One by one."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


class CMASampler(BaseSampler):
    """CMA-ES of the package cmaes. The optimiser is never stored: hearing the same trials again rebuilds it.

    (Optuna's own CmaEsSampler keeps it as a pickle among the attributes of trials, and a pickle can run code.)

    A generation is complete as soon as so many of the trials drawn from it have finished as the population has members.
    Trials that fail, are stopped early, or finish after that, teach nothing.

    Args:
        space: numbers only.
        seed: of the search.
    """

    def __init__(self, space: Mapping[str, Number], seed: int) -> None:
        self._space, self._seed = space, seed
        keys = len(space)
        self._optimizer = cmaes.CMA(
            mean=np.full(keys, 0.5),
            sigma=1 / 6,  # as Optuna has it: each end of a range is three standard deviations away
            bounds=np.tile([0.0, 1.0], (keys, 1)),
            n_max_resampling=10 * keys,
        )
        self._generation_of: dict[int, int] = {}
        self._finished: list[tuple[np.ndarray, float]] = []  # of this generation: place, loss

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Note of which generation it is."""
        self._generation_of[trial.number] = self._optimizer.generation

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of it."""
        return dict(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point of this generation's normal distribution."""
        self._optimizer.reseed_rng(_seed_of(self._seed, trial.number))
        places = self._optimizer.ask()
        return {key: at(one, float(place)) for (key, one), place in zip(self._space.items(), places, strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never asked for."""
        raise NotImplementedError("all keys are drawn together")

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Learn from a generation when it is complete."""
        if state is not TrialState.COMPLETE or not values:
            return
        if self._generation_of[trial.number] != self._optimizer.generation:
            return
        point = np.array([place_of(one, trial.params[key]) for key, one in self._space.items()])
        loss = values[0] if study.direction is StudyDirection.MINIMIZE else -values[0]
        self._finished.append((point, loss))
        if len(self._finished) == self._optimizer.population_size:
            self._optimizer.tell(self._finished)
            self._finished = []


class GridSampler(BaseSampler):
    """The combinations in the order of a plain sweep, the last key running fastest; each once.

    (Optuna's own GridSampler shuffles them, and knows only those that it drew itself.)

    Args:
        space: of the search, without intervals of fractions.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = space
        self._point: Mapping[str, Any] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the first combination that no other trial has."""
        taken = {
            tuple(other.params.get(key) for key in self._space)
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
        }
        combinations = itertools.product(*grid(self._space))
        self._point = dict(
            zip(self._space, next((point for point in combinations if point not in taken), ()), strict=False)
        )

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing: all is known."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Of the combination."""
        return self._point[param_name]


def grid(space: Mapping[str, BaseDistribution]) -> list[Sequence[Any]]:
    """All values of each key, in order."""
    values: list[Sequence[Any]] = []
    for distribution in space.values():
        if isinstance(distribution, CategoricalDistribution):
            values.append(distribution.choices)
        else:
            assert isinstance(distribution, IntDistribution)
            values.append(range(distribution.low, distribution.high + 1))
    return values


def place_of(distribution: Number, value: float) -> float:
    """Where in its range a value lies, in [0, 1]; the inverse of `at`."""
    low, high = _ends(distribution)
    return ((math.log(value) if distribution.log else value) - low) / (high - low)


def at(distribution: Number, place: float) -> int | float:
    """The value at a place in [0, 1] of a range; each whole number has an equal share (of the logarithm, if so)."""
    low, high = _ends(distribution)
    value = low + place * (high - low)
    value = math.exp(value) if distribution.log else value
    clipped = min(max(value, distribution.low), distribution.high)
    return round(clipped) if isinstance(distribution, IntDistribution) else clipped


def _ends(distribution: Number) -> tuple[float, float]:
    half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
    low, high = distribution.low - half, distribution.high + half
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _seed_of(seed: int, number: int) -> int:
    """Of a trial's random numbers, below 2^32."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
