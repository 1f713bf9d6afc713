"""Searches: how trials are drawn, and by what they are compared."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from pydantic import Field

from facelab.errors import ConfigError
from facelab.sweep.samplers import CMASampler, GridSampler, Number, SeededSampler, grid
from facelab.sweep.space import Space

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


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
    def sampler(self, space: Space) -> BaseSampler:
        """What draws the trials: equal draws after equal trials."""

    def pruner(self) -> BasePruner:
        """What tells whether a trial is to be stopped early."""
        return MedianPruner(self.startup_trials, self.warmup_images) if self.prune else NopPruner()

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
        trials: how many; a later, larger number extends the same search.
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

    def sampler(self, space: Space) -> BaseSampler:
        """Trials that run count as bad ones, so that parallel ones keep apart."""
        return SeededSampler(
            lambda seed: TPESampler(seed=seed, n_startup_trials=self.startup_trials, constant_liar=True), self.seed
        )


@dataclass(frozen=True)
class Random(Drawn):
    """Every trial is drawn evenly, whatever came out of the others. Arguments as of `Drawn` and `Search`."""

    def sampler(self, space: Space) -> BaseSampler:
        """Even draws."""
        return SeededSampler(RandomSampler, self.seed)


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

    def sampler(self, space: Space) -> BaseSampler:
        """Its generations are rebuilt from the trials."""
        numbers = {key: one for key, one in _distributions(space).items() if isinstance(one, Number)}
        return CMASampler(numbers, self.seed)


@dataclass(frozen=True)
class Grid(Search):
    """Every combination once, the last key running fastest. Further arguments as of `Search`.

    Args:
        trials: how many of them at most; null for all.
    """

    trials: Count | None = None

    def total(self, space: Space) -> int:
        """As asked for, or as many as there are."""
        points = math.prod(len(values) for values in grid(_distributions(space)))
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

    def sampler(self, space: Space) -> BaseSampler:
        """The first combination that no other trial has."""
        return GridSampler(_distributions(space))


def kept(metric: str) -> str:
    """The name under which a run records a validation metric of the weights it kept: `best/f1` of `val/f1`."""
    return f"best/{metric.removeprefix('val/')}"


def _distributions(space: Space) -> Mapping[str, BaseDistribution]:
    return {key: dimension.distribution for key, dimension in space.items()}
