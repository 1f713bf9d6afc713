"""Run a sweep from start to end: what is missing is trained, what is interrupted goes on, what fails is told."""

import dataclasses
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from facelab.config.build import build
from facelab.errors import FacelabError, Interrupted, TrackingError
from facelab.runs.begin import begin, resolved
from facelab.runs.resume import read_config
from facelab.sweep.board import Board, first_line
from facelab.sweep.children import Standing, never_lived, standings
from facelab.sweep.executor import Call, Demand, Ending, Executor, Handle, Place
from facelab.sweep.parent import Parent, claimed
from facelab.sweep.plan import Job, Plan, axis_name, points, values
from facelab.sweep.search import Search, Study, Trial, overlay
from facelab.sweep.settings import SweepSettings
from facelab.sweep.source import Combinations, Outcome, Source, Trials, kept
from facelab.sweep.space import Space, read_space
from facelab.sweep.worker import LOG
from facelab.system import make_console
from facelab.tracking import (
    ChildRow,
    ServerStore,
    Store,
    TrackedRun,
    Watch,
    child_tags,
    children,
    commit_of_now,
    find_sweep,
    remove,
    supersede,
)
from facelab.training.interrupt import StopRequest

_LOOK_EVERY_S = 0.5
_STOP_WITHIN_S = 120.0
_LET_GO_WITHIN_S = 30.0
_CHECK_SHOWN_FROM = 30
_LISTED = 10
_INTERRUPTED = 130


def run_sweep(plan: Plan, base: Mapping[str, Any]) -> int:
    """Run a sweep.

    Args:
        plan: what is to be done.
        base: config of the sweep itself, checked: the fixed overrides alone.

    Returns:
        0 if all jobs have finished, 1 if one failed, 130 if the sweep was interrupted.

    Raises:
        FacelabError: something the user can mend; no job has been started if it shows before.
    """
    console = make_console()
    used = ("sweep", "executor", "tracking", "runtime", "split", "search")
    built = build({key: base[key] for key in used if key in base})
    settings: SweepSettings = built["sweep"]
    place: Place = built["executor"]
    store: Store = built["tracking"]
    built["runtime"].check()
    place.check(isinstance(store, ServerStore))
    runs_folder = Path(built["runtime"].runs_folder).absolute()
    search: Search | None = built.get("search")
    jobs: list[Job] = []
    facts = None
    if search is not None:
        space = read_space(plan.axes)
        search.check(space, built["split"].has_validation, type(built["split"]).__name__)
        axes = {key: [dimension.text] for key, dimension in space.items()}
        # As the comparison knows it: judged by the weights that trials kept.
        facts = {**dataclasses.asdict(search), "metric": kept(search.metric), "trials": search.total(space)}
        facts["sampler"] = type(search).__name__
    else:
        axes = {axis_name(axis): values(axis) for axis in plan.axes}
    with place.executor(settings.jobs) as executor:
        devices = base["trainer"]["devices"]
        if search is None:
            jobs = _composed(plan, console)
            devices = max(job.config["trainer"]["devices"] for job in jobs)
        total = len(jobs) if search is None else search.total(space)
        threads = place.threads_per_job(min(settings.jobs or total, total), devices)
        name = settings.name or plan.default_name
        with claimed(plan, name, facts, store, runs_folder, axes, threads) as parent:
            sweep = _Sweep(plan, settings, place, store, runs_folder, console, executor, parent)
            return sweep.run(jobs) if search is None else sweep.search(search, space)


def _composed(plan: Plan, console: Console) -> list[Job]:
    """All jobs, each checked; what is wrong shows before the first one starts."""
    jobs = []
    listed = list(points(plan.axes))
    with console.status("") as status:
        for number, point in enumerate(listed):
            if len(listed) >= _CHECK_SHOWN_FROM:
                status.update(f"checking config {number + 1} of {len(listed)}")
            jobs.append(plan.compose(point))
    return jobs


@dataclass
class _Running:
    standing: Standing
    handle: Handle
    run: TrackedRun
    watch: Watch
    stopped: str = ""  # why, if it was
    stopped_at_s: float = 0.0
    pruned: bool = False


class _Sweep:
    """A sweep that is alive in this process."""

    def __init__(
        self,
        plan: Plan,
        settings: SweepSettings,
        place: Place,
        store: Store,
        runs_folder: Path,
        console: Console,
        executor: Executor,
        parent: Parent,
    ) -> None:
        self._plan, self._settings, self._place = plan, settings, place
        self._store, self._runs_folder, self._console = store, runs_folder, console
        self._executor, self._row, self._parent = executor, parent.row, parent
        self._running: list[_Running] = []
        self._failures: list[tuple[str, str, Path]] = []
        self._undelivered: list[TrackedRun] = []
        self._counts = {"finished": 0, "failed": 0, "pruned": 0}
        self._interrupted = 0
        self._closing_down = False
        self._stop = StopRequest()

    def run(self, jobs: Sequence[Job]) -> int:
        """All jobs; returns the exit status."""

        def missing() -> Source:
            found = self._missing(jobs)
            self._parent.record(self._plan.command)
            return Combinations(found)

        status = self._alive(missing, len(jobs))
        self._report(status)
        return status

    def search(self, search: Search, space: Space) -> int:
        """All trials; returns the exit status."""
        total = search.total(space)
        study: Study | None = None

        def trials() -> Source:
            nonlocal study
            study = Study(self._parent.run.folder / "study.log", self._row.name, search, space)
            self._parent.record(self._plan.command)
            rows = {row.id: row for row in self._rows()}
            demand = Demand.of(self._settled(self._plan.compose({})).config)
            source = Trials(
                study,
                search.metric,
                lambda trial: self._of_trial(trial, list(rows.values())),
                lambda run_id: self._final_values(rows[run_id]),
                total,
                demand,
                self._invalid,
            )
            counts = study.counts()
            self._counts = {how: counts[how] for how in self._counts}
            before = f", {source.done_before} done before" if source.done_before else ""
            self._say(f"Search {self._row.name}: {total} trials{before}  (run {self._row.id} in {self._store.uri})")
            for key, dimension in space.items():
                self._say(f"  {key}: {dimension.text}")
            return source

        status = self._alive(trials, total)
        best = study.best() if study is not None else None
        if best is not None:
            self._keep_best(search, *best)
        self._report(status)
        return status

    def _alive(self, make: Callable[[], Source], total: int) -> int:
        """Run the jobs of a source, and close the parent run by how that ends."""
        with self._stop.installed(), self._parent.run.delivering(self._warn):
            try:
                self._parent.run.status("RUNNING")
                source = make()
                with Board(self._console, source.total) as board, self._stop.listening():
                    self._work(source, board)
            except (KeyboardInterrupt, Interrupted):
                self._stop.requested = True
            except BaseException as error:
                self._let_go()
                self._parent.run.status("FAILED", f"{type(error).__name__}: {error}")
                raise
            self._stop.patient = True  # the books are closed in a moment, whoever presses what
            with self._stop.listening():
                self._end_all()
                return self._conclude(total)

    def _rows(self) -> list[ChildRow]:
        """All runs of the sweep so far, without those that a kill left half made."""
        rows = children(self._store, self._row.id)
        for row in rows:
            if never_lived(row, self._runs_folder):
                remove(self._store, row.id)
        return [row for row in rows if not never_lived(row, self._runs_folder)]

    def _missing(self, jobs: Sequence[Job]) -> list[Standing]:
        """What is to be done, after a word about what is not."""
        whole = [self._settled(job) for job in jobs]
        found = standings(whole, self._rows(), self._runs_folder, commit_of_now(), self._settings.stale)
        for standing in found:
            if standing.done:
                self._counts["finished"] += 1
                if (self._runs_folder / standing.done).is_dir():
                    TrackedRun.open(self._runs_folder / standing.done).settle()
                if standing.replaced:
                    supersede(self._store, standing.replaced, standing.done)
        missing = [standing for standing in found if not standing.done]
        on = sum(standing.begun is not None for standing in missing)
        parts = [f"{len(found)} jobs"]
        done = self._counts["finished"]
        parts += [f"{done} finished before"] if done else []
        parts += [f"{on} to go on with"] if on else []
        self._say(f"Sweep {self._row.name}: {', '.join(parts)}  (run {self._row.id} in {self._store.uri})")
        self._tell_older([standing for standing in found if standing.older])
        return missing

    def _tell_older(self, older: Sequence[Standing]) -> None:
        if not older:
            return
        commits = ", ".join(sorted({standing.older[:10] for standing in older}))
        what = "kept; sweep.stale=redo trains them anew" if self._settings.stale == "keep" else "trained anew"
        self._say(f"{len(older)} were finished by older code ({commits}): {what}.")
        for standing in older[:_LISTED]:
            self._say(f"  {' '.join(f'{key}={value}' for key, value in standing.job.point.items())}")
        if len(older) > _LISTED:
            self._say(f"  and {len(older) - _LISTED} more")

    def _of_trial(self, trial: Trial, rows: Sequence[ChildRow]) -> Standing:
        job = self._settled(self._plan.compose(trial.overrides, trial.number))
        own = [row for row in rows if row.trial == trial.number]
        return standings([job], own, self._runs_folder, commit="", stale="keep")[0]

    def _final_values(self, row: ChildRow) -> Mapping[str, float]:
        """Of a run that has finished: what the store has of it, and what may still wait in its folder."""
        watch = Watch(self._runs_folder / row.id)
        watch.look()
        if (self._runs_folder / row.id).is_dir():
            TrackedRun.open(self._runs_folder / row.id).settle()
        self._counts["finished"] += 1
        return {**row.metrics, **watch.latest}

    def _settled(self, job: Job) -> Job:
        """With the config as its run keeps it; the sweep's own thread count where it leaves that open."""
        trainer = job.config["trainer"]
        config = {**job.config, "trainer": {**trainer, "threads": trainer["threads"] or self._row.threads}}
        return dataclasses.replace(job, config=resolved(config, elsewhere=self._place.elsewhere))

    def _work(self, source: Source, board: Board) -> None:
        while True:
            if self._stop.requested and not self._closing_down:
                self._closing_down = True
                board.note("Stopping: running jobs save a checkpoint. Ctrl-C again ends them at once.")
                for running in self._running:
                    self._stop_one(running, "interrupted")
            anything_waits = self._start_what_fits(source, board)
            if not self._running and not anything_waits:
                return
            self._executor.wait([running.handle for running in self._running], _LOOK_EVERY_S)
            for running in list(self._running):
                for images_seen, validation in running.watch.look():
                    if not running.stopped and source.hopeless(running.standing.job, images_seen, validation):
                        running.pruned = True
                        self._stop_one(running, f"pruned after {images_seen:,} images: others did better by then")
                ending = running.handle.ended()
                if ending is not None:
                    self._take_leave(running, ending, source, board)
                elif running.stopped and time.monotonic() - running.stopped_at_s > _STOP_WITHIN_S:
                    running.handle.kill()

    def _take_leave(self, running: _Running, ending: Ending, source: Source, board: Board) -> None:
        self._running.remove(running)
        if self._settings.fail_fast and not (ending.finished or running.stopped):
            self._closing_down = True
            for other in self._running:
                self._stop_one(other, "stopped, since another job failed (sweep.fail_fast)")
        try:
            if not self._plan.searching:  # a search draws better when it knows how this one ended
                self._start_what_fits(source, board)  # first: the books can wait, a free core should not
        finally:
            self._book(running, ending, source, board)

    def _start_what_fits(self, source: Source, board: Board) -> bool:
        """Start jobs while there is room; whether some wait for something else than room."""
        waiting: list[Standing] = []
        while not self._closing_down:
            demand = source.upcoming()
            if demand is None or not self._executor.has_room(demand):
                break
            standing = source.next()
            if standing is None:
                continue
            try:
                started = self._start(standing, board)
            except TrackingError as error:  # the jobs that run do not need the store; the next one can wait for it
                board.note(f"The next job waits: {first_line(str(error))}")
                waiting.append(standing)
                break
            if not started:
                waiting.append(standing)
        for standing in waiting:
            source.back(standing)
        return bool(waiting)

    def _start(self, standing: Standing, board: Board) -> bool:
        """Start a job; False if another process is still at its run.

        Raises:
            TrackingError: the store cannot be written; the job has not been started.
        """
        job, begun = standing.job, standing.begun
        demand = Demand.of(
            job.config if begun is None else {**job.config, "trainer": read_config(begun.folder)["trainer"]}
        )
        handle = None
        if begun is not None:
            handle = self._executor.running(Call(begun.folder, job.dependencies, demand))
            if handle is None and _is_alive(begun):
                board.note(f"{begun.name} is still being trained by another process; waiting for it.")
                return False
        run = begun or self._begin(job)
        handle = handle or self._executor.start(Call(run.folder, job.dependencies, demand))
        watch = Watch(run.folder)
        self._running.append(_Running(standing, handle, run, watch))
        board.started(run.id, run.name, watch)
        if standing.replaced:
            with suppress(TrackingError):  # done again when the sweep is started again
                supersede(self._store, standing.replaced, run.id)
        return True

    def _begin(self, job: Job) -> TrackedRun:
        tags = child_tags(self._row.id, job.point, job.trial)
        return begin(job.config, job.choices, tags, job.name)

    def _stop_one(self, running: _Running, why: str) -> None:
        running.stopped, running.stopped_at_s = why, time.monotonic()
        running.handle.stop()

    def _book(self, running: _Running, ending: Ending, source: Source, board: Board) -> None:
        """Write down how a job ended, where its own process could not."""
        run = running.run
        running.watch.look()
        log = run.folder / LOG
        if log.is_file():
            run.file(LOG)
        how: Outcome | None = None
        if ending.finished or run.ended == "FINISHED":
            how = "finished"
            board.finished(run.id)
        elif run.ended != "FAILED" and (running.stopped or run.ended == "KILLED"):
            why = running.stopped or "interrupted"
            if run.ended != "KILLED" or running.stopped:
                run.status("KILLED", why)
            how = "pruned" if running.pruned else None
            board.stopped(run.id, how or "stopped", why)
        else:
            if run.ended != "FAILED":
                run.status("FAILED", ending.reason)
            how = "failed"
            self._failures.append((run.name, ending.reason, log))
            board.failed(run.id, ending.reason, log)
        if not run.settle():
            self._undelivered.append(run)
        running.handle.close()
        if how is None:
            self._interrupted += 1
        else:
            self._counts[how] += 1
            source.ended(running.standing.job, how, running.watch.latest)

    def _invalid(self, trial: Trial, why: str) -> None:
        self._counts["failed"] += 1
        self._failures.append((f"trial {trial.number}", why, self._parent.run.folder / "study.log"))
        self._warn(f"trial {trial.number} cannot be tried: {why}")

    def _let_go(self) -> None:
        """Something is wrong with the sweep itself, and not with its jobs: they may save what they have."""
        for running in self._running:
            self._stop_one(running, "interrupted")
        deadline = time.monotonic() + _LET_GO_WITHIN_S
        while time.monotonic() < deadline and any(running.handle.ended() is None for running in self._running):
            time.sleep(_LOOK_EVERY_S)
        self._end_all()

    def _end_all(self) -> None:
        """Whatever still runs is ended, and its run closed."""
        for running in self._running:
            running.handle.kill()
        for running in self._running:
            running.handle.close()
            if running.run.ended in (None, "RUNNING"):
                running.run.status("KILLED", running.stopped or "interrupted")
            running.run.settle()
            self._interrupted += 1
        self._running.clear()

    def _conclude(self, total: int) -> int:
        """Close the parent run, and say how it stands."""
        finished, failed = self._counts["finished"], self._counts["failed"]
        before = {step for _, name, step in self._parent.run.spool.known if name.startswith("sweep/")}
        self._parent.run.metrics({f"sweep/{how}": float(count) for how, count in self._counts.items()}, len(before))
        undelivered = [run for run in self._undelivered if not run.settle()]
        if undelivered:
            self._warn(f"{len(undelivered)} runs could not deliver all to {self._store.uri}; do it with: facelab sync")
        if self._failures:
            lines = [f"{len(self._failures)} of {total} jobs failed:"]
            for name, reason, log in self._failures:
                lines.append(f"  {name}: {first_line(reason)}\n    log: {log}")
            self._warn("\n".join(lines))
        if self._stop.requested or (self._interrupted and not failed):
            self._parent.run.status("KILLED", "interrupted")
            self._say(f"{finished} of {total} jobs have finished. Go on with: {self._plan.command}")
            return _INTERRUPTED
        if failed:
            self._parent.run.status("FAILED", f"{failed} of {total} jobs failed")
            if not self._plan.searching:
                self._say(f"Try them again, when what is wrong is mended: {self._plan.command}")
            return 1
        self._parent.run.status("FINISHED")
        return 0

    def _report(self, status: int) -> None:
        """The comparison, unless the sweep was interrupted."""
        if status == _INTERRUPTED:
            return
        row = find_sweep(self._store, self._row.id)
        if row is not None:
            from facelab.compare.report import report  # here, since a sweep's start need not wait for it

            self._say("")
            try:
                report(self._store, row, self._runs_folder, self._console)
            except FacelabError as error:
                self._warn(f"No comparison: {error}\nMake it with: facelab compare sweep={self._row.name}")

    def _keep_best(self, search: Search, number: int, value: float, overrides: Mapping[str, str]) -> None:
        """The best trial as an experiment."""
        groups = self._plan.compose(overrides, number).choices.keys()
        name = re.sub(r"\W+", "_", self._row.name)
        file = Path("experiments") / name / "best.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(overlay(overrides, self._plan.lasting, self._plan.command, groups), encoding="utf-8")
        texts = " ".join(f"{key}={text}" for key, text in overrides.items())
        self._say(f"Best: trial {number}, {search.metric} {value:.4f} with {texts}")
        self._say(f"Train it: python train.py +{name}=best   ({file})")

    def _say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _warn(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


def _is_alive(run: TrackedRun) -> bool:
    try:
        with run.alone():
            return False
    except TrackingError:
        return True
