"""Search algorithms: how to draw trials, and the metric to optimise."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from pydantic import Field

from facelab.errors import ConfigError
from facelab.metrics.declaration import Metric, find_metric
from facelab.sweep.samplers import CMASampler, GridSampler, Number, SeededSampler, grid
from facelab.sweep.space import Space

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Search(ABC):
    """Base class of search algorithms.

    Args:
        metric: validation metric to optimise.
        direction: whether to maximize or minimize it; null as the metric declares, such as minimize for val/loss.
        prune: whether a trial is stopped early when its best value so far is worse than the median of the finished
            trials at the same number of images seen.
        startup_trials: number of finished trials before any is stopped early.
        warmup_images: number of images that a trial sees before it can be stopped early.
    """

    metric: str = "val/f1"
    direction: Literal["maximize", "minimize"] | None = None
    prune: bool = True
    startup_trials: Count = 5
    warmup_images: Annotated[int, Field(ge=0)] = 0

    @abstractmethod
    def total(self, space: Space) -> int:
        """Number of trials."""

    @abstractmethod
    def sampler(self, space: Space) -> BaseSampler:
        """Create the sampler; it draws the same after the same trials."""

    def pruner(self) -> BasePruner:
        """Create the pruner, which decides whether to stop a trial early."""
        return MedianPruner(self.startup_trials, self.warmup_images) if self.prune else NopPruner()

    def directed(self, declared: Iterable[Metric]) -> Self:
        """The same with a direction; a metric that is not among the declared ones is maximized."""
        found = find_metric(self.metric, {metric.name: metric for metric in declared})
        lower = found is not None and not found.higher_is_better
        return self if self.direction else replace(self, direction="minimize" if lower else "maximize")

    def check(self, space: Space, has_validation: bool, split_name: str) -> None:
        """Check that this search is possible.

        Args:
            space: to draw from.
            has_validation: whether the split has validation images.
            split_name: name of the split's class for messages, such as `FewShot`.

        Raises:
            ConfigError: it is not.
        """
        if not space:
            raise ConfigError(
                "search: there is nothing to search over. Give at least one range with -m, such as "
                "'model.optimizer.lr=interval(1e-4,1e-2)' or model=cnn,cnn_arcface."
            )
        if not self.metric.startswith("val/"):
            raise ConfigError(
                f"search.metric={self.metric}: expected a metric of the validation faces, such as val/f1. Selecting "
                "a config on the test faces makes its test result optimistic."
            )
        if not has_validation:
            raise ConfigError(
                f"split: {split_name} has no validation faces to select a config by, and selecting on the test faces "
                "makes the test result optimistic. Search with split=ratio or split=kfold, then use the best config "
                f"with {split_name}."
            )


@dataclass(frozen=True)
class Drawn(Search):
    """Base class of searches that draw a given number of random trials.

    Args:
        trials: number of trials; a later, larger number extends the same search.
        seed: of the draws.
    """

    trials: Count = 30
    seed: Seed = 0

    def total(self, space: Space) -> int:
        """The given number of trials."""
        return self.trials


@dataclass(frozen=True)
class TPE(Drawn):
    """Tree-structured Parzen estimator: draws where the better trials were dense and the worse ones were not.

    Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011. Keys are drawn jointly. The
    first `startup_trials` are drawn uniformly. Arguments as of `Drawn` and `Search`.
    """

    def sampler(self, space: Space) -> BaseSampler:
        """Create the sampler. Running trials count as bad ones, so that parallel trials differ."""
        return SeededSampler(
            lambda seed: TPESampler(seed=seed, n_startup_trials=self.startup_trials, constant_liar=True), self.seed
        )


@dataclass(frozen=True)
class Random(Drawn):
    """Random search: every trial is drawn uniformly. Arguments as of `Drawn` and `Search`."""

    def sampler(self, space: Space) -> BaseSampler:
        """Create a sampler of uniform draws."""
        return SeededSampler(RandomSampler, self.seed)


@dataclass(frozen=True)
class CMAES(Drawn):
    """CMA-ES: draws from a normal distribution that adapts its mean and covariance to the better trials; numbers only.

    Hansen, The CMA Evolution Strategy: A Tutorial, 2016. It learns from whole generations of 4 + 3 ln(keys) trials,
    so it needs many; trials that were stopped early do not count. Arguments as of `Drawn` and `Search`.
    """

    trials: Count = 100

    def check(self, space: Space, has_validation: bool, split_name: str) -> None:
        """As of `Search`; choices are refused too."""
        super().check(space, has_validation, split_name)
        choices = [key for key, one in space.items() if isinstance(one.distribution, CategoricalDistribution)]
        if choices:
            raise ConfigError(
                f"search=cmaes: {', '.join(choices)} has no order, and CMA-ES moves along numbers only. Give an "
                "interval or a range, give one value, or choose search=tpe."
            )

    def sampler(self, space: Space) -> BaseSampler:
        """Create the sampler, which rebuilds its generations from the trials."""
        numbers = {key: one for key, one in _distributions(space).items() if isinstance(one, Number)}
        return CMASampler(numbers, self.seed)


@dataclass(frozen=True)
class Grid(Search):
    """Grid search: every combination once; the last key varies fastest. Further arguments as of `Search`.

    Args:
        trials: maximal number of trials; null for all combinations.
    """

    trials: Count | None = None

    def total(self, space: Space) -> int:
        """Number of combinations, at most `trials`."""
        points = math.prod(len(values) for values in grid(_distributions(space)))
        return points if self.trials is None else min(self.trials, points)

    def check(self, space: Space, has_validation: bool, split_name: str) -> None:
        """As of `Search`; intervals are refused too."""
        super().check(space, has_validation, split_name)
        endless = [key for key, one in space.items() if isinstance(one.distribution, FloatDistribution)]
        if endless:
            raise ConfigError(
                f"search=grid: {endless[0]}={space[endless[0]].text} has no steps. Give "
                f"{endless[0]}=range(low,high,step) or list values, or choose search=tpe."
            )

    def sampler(self, space: Space) -> BaseSampler:
        """Create a sampler that draws the first unused combination."""
        return GridSampler(_distributions(space))


def sampler_of(search: Mapping[str, Any] | None) -> str:
    """Algorithm and seed of a search's config or record, such as `TPE 0`; empty for none."""
    if search is None:
        return ""
    algorithm = str(search.get("sampler") or search["_target_"]).rpartition(".")[2]
    return f"{algorithm} {search.get('seed', '')}".rstrip()


def kept(metric: str) -> str:
    """Name of a validation metric at the selected weights: `best/f1` for `val/f1`."""
    return f"best/{metric.removeprefix('val/')}"


def _distributions(space: Space) -> Mapping[str, BaseDistribution]:
    return {key: dimension.distribution for key, dimension in space.items()}
