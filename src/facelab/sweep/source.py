"""Sources of a sweep's jobs: all combinations of its axes, or a search."""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterable, Mapping

from facelab.config.identity import config_hash
from facelab.errors import ConfigError
from facelab.runs.dependencies import Dependency
from facelab.sweep.children import Children, Standing
from facelab.sweep.executor import Demand
from facelab.sweep.outcomes import Outcomes
from facelab.sweep.plan import Job
from facelab.sweep.search import Search, kept
from facelab.sweep.study import Outcome, RecordedStudy


class Source(ABC):
    """Provides jobs one by one, and receives their outcomes."""

    total: int  # number of jobs it will provide
    is_known_ahead: bool  # whether the next job does not depend on outcomes

    @abstractmethod
    def upcoming(self) -> Demand | None:
        """Resources of the next job; None if there is none."""

    @abstractmethod
    def next(self) -> Standing | None:
        """The next job; None if there is none."""

    @abstractmethod
    def back(self, standing: Standing) -> None:
        """Take a job back, to provide it again later."""

    def hopeless(self, job: Job, images_seen: int, validation: Mapping[str, float]) -> bool:
        """Whether a job should be stopped early, after a validation.

        Args:
            job: the running job.
            images_seen: at the validation.
            validation: `val/...` values by name.
        """
        return False

    @abstractmethod
    def ended(self, job: Job, how: Outcome, latest: Mapping[str, float]) -> None:
        """Receive the outcome of a job.

        Args:
            job: the job.
            how: its outcome.
            latest: its last values by name.
        """


class Combinations(Source):
    """Provides a fixed list of jobs.

    A job that needs a run, such as a generator, trains it first if nobody has. Others that need the same run would only
    wait for it, so they come after the rest of the list until that job has ended.

    Args:
        standings: of the jobs that are not done.
    """

    is_known_ahead = True

    def __init__(self, standings: Iterable[Standing]) -> None:
        self._waiting = [(standing, _needed(standing.job.dependencies)) for standing in standings]
        self.total = len(self._waiting)
        self._in_training: Counter[str] = Counter()
        self._trained: set[str] = set()

    def upcoming(self) -> Demand | None:
        """Resources of the next job."""
        return self._waiting[self._first()][0].demand if self._waiting else None

    def next(self) -> Standing | None:
        """The first job in the list that need not wait for another one; else the first."""
        if not self._waiting:
            return None
        standing, needed = self._waiting.pop(self._first())
        self._in_training.update(needed)
        return standing

    def back(self, standing: Standing) -> None:
        """Append a job to the list."""
        needed = _needed(standing.job.dependencies)
        self._in_training.subtract(needed)
        self._waiting.append((standing, needed))

    def ended(self, job: Job, how: Outcome, latest: Mapping[str, float]) -> None:
        """Note that the runs that a job needed are trained if it has finished."""
        needed = _needed(job.dependencies)
        self._in_training.subtract(needed)
        if how == "finished":
            self._trained |= needed

    def _first(self) -> int:
        busy = {key for key, count in self._in_training.items() if count > 0} - self._trained
        return next((place for place, (_, needed) in enumerate(self._waiting) if not busy & needed), 0)


def _needed(dependencies: Mapping[str, Dependency]) -> set[str]:
    """Config hashes of the runs that a job needs, and of those that they need."""
    found: set[str] = set()
    for dependency in dependencies.values():
        found |= {config_hash(dependency.config), *_needed(dependency.dependencies)}
    return found


class Trials(Source):
    """Provides the trials of a search, interrupted ones first.

    Args:
        study: draws and records the trials.
        search: settings of the search.
        total: number of trials of the whole search.
        children: composes and checks the config of a trial, and finds its run if there is one.
        demand: resources of a trial, as far as they are known before it is drawn.
        outcomes: counts trials that ended before this process started.
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
        """Number of trials of the whole search that have ended."""
        counts = self._study.counts()
        return sum(counts.values()) - counts["running"]

    def upcoming(self) -> Demand | None:
        """Resources of the next trial; of one that is yet to be drawn or composed, those of the first values."""
        if self._back:
            return self._back[0].demand
        asked = sum(self._study.counts().values())
        return self._demand if self._waiting or asked < self._search_total else None

    def next(self) -> Standing | None:
        """The next trial: an interrupted or a new one."""
        if self._back:
            return self._back.popleft()
        while trial := (self._waiting.popleft() if self._waiting else self._study.ask()):
            try:
                standing = self._children.of_trial(trial)
            except ConfigError as error:
                self._study.fail(trial.number)
                self._outcomes.invalid(trial.number, str(error))
                continue
            if standing.done is None:
                return standing
            # Its run finished, but the search was killed before it recorded this.
            self._outcomes.count_before({"finished": 1})
            self.ended(standing.job, "finished", self._children.final_values(standing.done))
        return None

    def back(self, standing: Standing) -> None:
        """Put a job in front of the queue."""
        self._back.append(standing)

    def hopeless(self, job: Job, images_seen: int, validation: Mapping[str, float]) -> bool:
        """Whether a trial is worse than the median of the others.

        Raises:
            ConfigError: validation does not record the metric of the search.
        """
        assert job.trial is not None
        if self._metric not in validation:
            raise ConfigError(
                f"search.metric={self._metric}: the validation of {job.choices.get('model')} records no such metric. "
                f"Choose one of: {', '.join(sorted(validation))}."
            )
        return self._study.should_prune(job.trial, images_seen, validation[self._metric])

    def ended(self, job: Job, how: Outcome, latest: Mapping[str, float]) -> None:
        """Record the outcome of a trial; its value is the metric of the weights it kept.

        Raises:
            ConfigError: the trial has no such metric.
        """
        assert job.trial is not None
        value = latest.get(kept(self._metric))
        if how == "finished" and value is None:
            self._study.fail(job.trial)
            raise ConfigError(
                f"search.metric={self._metric}: {job.choices.get('model')} was trained without validation, so the "
                "search has no metric to optimise."
            )
        if how == "finished" and value is not None:
            self._study.tell(job.trial, value)
        elif how == "pruned":
            self._study.prune(job.trial)
        else:
            self._study.fail(job.trial)
