"""Optuna samplers, which draw the trials of a search.

A draw depends only on the previous trials and its own number, so a search rebuilt from its record draws the same
trials.
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
    """Wraps an Optuna sampler and reseeds it for each trial, because its random state is not recorded.

    Args:
        make: creates the sampler from a seed.
        seed: of the search.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._sampler = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Create the sampler of this trial."""
        self._sampler = self._make(_seed_of(self._seed, trial.number))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The keys that are drawn jointly."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw keys jointly."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one key."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


class CMASampler(BaseSampler):
    """CMA-ES of the package cmaes. The optimiser is not stored, but rebuilt by replaying the trials.

    (Optuna's own CmaEsSampler stores it as a pickle among the attributes of trials, and a pickle can run code.)

    A generation is complete when as many of its trials have finished as the population has members. Trials that fail,
    are stopped early, or finish later are ignored.

    Args:
        space: numbers only.
        seed: of the search.
    """

    def __init__(self, space: Mapping[str, Number], seed: int) -> None:
        self._space, self._seed = space, seed
        keys = len(space)
        self._optimizer = cmaes.CMA(
            mean=np.full(keys, 0.5),
            sigma=1 / 6,  # as in Optuna: the ends of a range are three standard deviations away
            bounds=np.tile([0.0, 1.0], (keys, 1)),
            n_max_resampling=10 * keys,
        )
        self._generation_of: dict[int, int] = {}
        self._finished: list[tuple[np.ndarray, float]] = []  # of this generation: place, loss

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Record the generation of the trial."""
        self._generation_of[trial.number] = self._optimizer.generation

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space."""
        return dict(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw a point from this generation's normal distribution."""
        self._optimizer.reseed_rng(_seed_of(self._seed, trial.number))
        places = self._optimizer.ask()
        return {key: at(one, float(place)) for (key, one), place in zip(self._space.items(), places, strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Raise: all keys are drawn jointly."""
        raise NotImplementedError("all keys are drawn together")

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Update the distribution once a generation is complete."""
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
    """All combinations, each once, in the order of a plain sweep: the last key varies fastest.

    (Optuna's own GridSampler shuffles them, and ignores trials that it did not draw itself.)

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
        """Empty: nothing is drawn jointly."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Empty: nothing is drawn jointly."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Value of a key in the chosen combination."""
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
    """Position of a value in its range, in [0, 1]; the inverse of `at`."""
    low, high = _ends(distribution)
    return ((math.log(value) if distribution.log else value) - low) / (high - low)


def at(distribution: Number, place: float) -> int | float:
    """The value at a position in [0, 1] of a range, linear or logarithmic. Integers have equal shares of it."""
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
    """Random seed of a trial, below 2^32."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
