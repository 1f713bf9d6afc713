"""Where the jobs of a sweep come from: all combinations of its axes, or a search."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping

from facelab.errors import ConfigError
from facelab.sweep.children import Children, Standing
from facelab.sweep.executor import Demand
from facelab.sweep.outcomes import Outcomes
from facelab.sweep.plan import Job
from facelab.sweep.search import Search, kept
from facelab.sweep.study import Outcome, RecordedStudy


class Source(ABC):
    """Hands out jobs, one after the other, and hears how they go."""

    total: int  # jobs it will have handed out at the end
    is_known_ahead: bool  # whether what comes next does not depend on what came out before

    @abstractmethod
    def upcoming(self) -> Demand | None:
        """What the next job takes of a machine; None if there is none."""

    @abstractmethod
    def next(self) -> Standing | None:
        """The next job; None if there turns out to be none."""

    @abstractmethod
    def back(self, standing: Standing) -> None:
        """Take a job back, to be handed out later."""

    def hopeless(self, job: Job, images_seen: int, validation: Mapping[str, float]) -> bool:
        """Whether a job that was validated should be stopped.

        Args:
            job: that runs.
            images_seen: by it.
            validation: `val/...` by name.
        """
        return False

    @abstractmethod
    def ended(self, job: Job, how: Outcome, latest: Mapping[str, float]) -> None:
        """Hear how a job ended.

        Args:
            job: that ended.
            how: it did.
            latest: its last values by name.
        """


class Combinations(Source):
    """Jobs that are known from the start.

    Args:
        standings: of those that are not done.
    """

    is_known_ahead = True

    def __init__(self, standings: Iterable[Standing]) -> None:
        self._waiting = deque(standings)
        self.total = len(self._waiting)

    def upcoming(self) -> Demand | None:
        """Of the first in line."""
        return Demand.of(self._waiting[0].job.config) if self._waiting else None

    def next(self) -> Standing | None:
        """In order."""
        return self._waiting.popleft() if self._waiting else None

    def back(self, standing: Standing) -> None:
        """To the end."""
        self._waiting.append(standing)

    def ended(self, job: Job, how: Outcome, latest: Mapping[str, float]) -> None:
        """Nothing that comes depends on it."""


class Trials(Source):
    """Jobs that a search draws, knowing what came out of those before; interrupted ones first.

    Args:
        study: the search.
        search: how it judges.
        total: trials of the whole search.
        children: composes and checks the config of a trial, and finds its run if it has begun.
        demand: what a trial takes of a machine.
        outcomes: counts what ended without being started here.
    """

    is_known_ahead = False

    def __init__(
        self,
        study: RecordedStudy,
        search: Search,
        total: int,
        children: Children,
        demand: Demand,
        outcomes: Outcomes,
    ) -> None:
        self._study, self._metric, self._search_total = study, search.metric, total
        self._children, self._demand, self._outcomes = children, demand, outcomes
        self._waiting = deque(study.unfinished())
        self._back: deque[Standing] = deque()
        self.done_before = self.ended_so_far
        self.total = max(total, sum(study.counts().values())) - self.done_before

    @property
    def ended_so_far(self) -> int:
        """Trials of the whole search that have ended, in whatever way."""
        counts = self._study.counts()
        return sum(counts.values()) - counts["running"]

    def upcoming(self) -> Demand | None:
        """Taken as the same for all trials: what one draws is not known before there is room for it."""
        asked = sum(self._study.counts().values())
        return self._demand if self._back or self._waiting or asked < self._search_total else None

    def next(self) -> Standing | None:
        """An interrupted trial, or a new one."""
        if self._back:
            return self._back.popleft()
        while trial := (self._waiting.popleft() if self._waiting else self._study.ask()):
            try:
                standing = self._children.of_trial(trial)
            except ConfigError as error:
                if self.ended_so_far == 0:
                    raise  # what is wrong with the first one is wrong with all
                self._study.fail(trial.number)
                self._outcomes.invalid(trial.number, str(error))
                continue
            if standing.done is None:
                return standing
            # Its run finished, and the search was killed before it heard of it.
            self._outcomes.count_before({"finished": 1})
            self.ended(standing.job, "finished", self._children.final_values(standing.done))
        return None

    def back(self, standing: Standing) -> None:
        """To be handed out next."""
        self._back.append(standing)

    def hopeless(self, job: Job, images_seen: int, validation: Mapping[str, float]) -> bool:
        """By the median of the others.

        Raises:
            ConfigError: the search judges by a metric that the validation does not give.
        """
        assert job.trial is not None
        if self._metric not in validation:
            raise ConfigError(
                f"search.metric={self._metric}: the validation of {job.choices.get('model')} gives no such metric. It "
                f"gives: {', '.join(sorted(validation))}."
            )
        return self._study.should_prune(job.trial, images_seen, validation[self._metric])

    def ended(self, job: Job, how: Outcome, latest: Mapping[str, float]) -> None:
        """The value of a trial is that of the weights it kept.

        Raises:
            ConfigError: it has none.
        """
        assert job.trial is not None
        value = latest.get(kept(self._metric))
        if how == "finished" and value is None:
            self._study.fail(job.trial)
            raise ConfigError(
                f"search.metric={self._metric}: {job.choices.get('model')} was trained without any validation, so that "
                "there is nothing to choose by."
            )
        if how == "finished" and value is not None:
            self._study.tell(job.trial, value)
        elif how == "pruned":
            self._study.prune(job.trial)
        else:
            self._study.fail(job.trial)
