"""Run a sweep from start to end: train what is missing, resume what was interrupted, report what failed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from facelab.config.build import build, resolve_target
from facelab.data.faces import PART
from facelab.data.splits.base import Split
from facelab.data.splits.given import Official
from facelab.errors import ConfigError, Interrupted
from facelab.metrics import Metric
from facelab.models.base import FaceModule
from facelab.sweep.board import Board
from facelab.sweep.children import Children, Standing
from facelab.sweep.context import Context
from facelab.sweep.executor import Demand, Executor
from facelab.sweep.jobs import RunningJobs
from facelab.sweep.outcomes import INTERRUPTED, Outcomes
from facelab.sweep.parent import Parent, claimed
from facelab.sweep.plan import Job, Plan, axis_name, points, values
from facelab.sweep.registered import registered_study
from facelab.sweep.results import print_comparison, write_best
from facelab.sweep.scheduler import Scheduler
from facelab.sweep.search import Search, kept
from facelab.sweep.source import Combinations, Source, Trials
from facelab.sweep.space import Space, read_space
from facelab.sweep.study import RecordedStudy
from facelab.system import make_console
from facelab.tracking import ServerStore
from facelab.training.interrupt import StopRequest

_CHECK_SHOWN_FROM = 30
_LISTED = 10


def run_sweep(plan: Plan, base: Job) -> int:
    """Run a sweep.

    Args:
        plan: its axes and fixed overrides.
        base: the job of the first value of every axis.

    Returns:
        0 if all jobs have finished, 1 if one failed, 130 if the sweep was interrupted.

    Raises:
        FacelabError: an error the user can fix; errors in the config appear before any job starts.
    """
    used = ("sweep", "executor", "tracking", "runtime", "split", "search")
    built = build({key: base.config[key] for key in used if key in base.config})
    built["runtime"].check()
    built["executor"].check(isinstance(built["tracking"], ServerStore))
    runs_folder = Path(built["runtime"].runs_folder).absolute()
    context = Context(plan, built["sweep"], built["executor"], built["tracking"], runs_folder, make_console())
    search: Search | None = built.get("search")
    if search is None:
        return _run_combinations(context)
    space = read_space(plan.axes)
    search.check(space, built["split"].has_validation, type(built["split"]).__name__)
    if not context.place.elsewhere and not any(key.partition(".")[0] in ("data", "split") for key in space):
        _refuse_unvalidated(built["split"], base.config)
    return _run_search(context, search.directed(_declared(base.config)), space, base)


def _declared(config: Mapping[str, Any]) -> list[Metric]:
    """The metrics that a model and its protocols declare."""
    model = cast(type[FaceModule], resolve_target(config["model"]["_target_"]))
    protocols = build({"protocol": config["protocol"]})["protocol"].values()
    return [*model.term_metrics, *(metric for protocol in protocols for metric in protocol.metrics)]


def _refuse_unvalidated(split: Split, base: Mapping[str, Any]) -> None:
    """Refuse a set that comes with a split without validation images; only its list is read, not the images.

    Raises:
        ConfigError: it has none.
        DataError: the list cannot be read.
    """
    if not isinstance(split, Official) or split.val:
        return
    rows = build({"data": base["data"]})["data"].listed()
    if "val" not in rows.columns.get(PART, ["val"]):  # without any parts, the first trial says so
        raise ConfigError(
            f"split=official: {rows.name} comes without validation images, so the search has none to select a config "
            "by. Set split.val=0.1, which sets a share of the training people apart, or search with split=ratio."
        )


def _run_combinations(context: Context) -> int:
    """All combinations of the swept values; returns the exit status."""
    axes = {axis_name(axis): values(axis) for axis in context.plan.axes}
    with context.place.executor(context.settings.jobs) as executor:
        jobs = _composed(context.plan, context.console)
        devices = max(job.config["trainer"]["devices"] for job in jobs)
        study = registered_study(context, axes, jobs)  # refuses before a parent run exists
        with claimed(context, axes, None, _threads(context, len(jobs), devices), study) as parent:
            outcomes = Outcomes(context, parent)

            def source() -> Source:
                found = Children(context, parent.row).standings(jobs)
                parent.record(context.plan.command)
                outcomes.count_before({"finished": sum(standing.done is not None for standing in found)})
                _announce(context, parent, found)
                return Combinations(standing for standing in found if standing.done is None)

            status = _supervise(context, parent, executor, outcomes, source, len(jobs))
            if status != INTERRUPTED:
                print_comparison(context, parent.row)
            return status


def _run_search(context: Context, search: Search, space: Space, base: Job) -> int:
    """The trials of a search; returns the exit status."""
    if context.settings.study is not None:
        raise ConfigError(f"sweep.study={context.settings.study}: a search makes no study's runs. Remove search=.")
    total, devices = search.total(space), base.config["trainer"]["devices"]
    axes = {key: [dimension.text] for key, dimension in space.items()}
    # Trials are compared by the metric of the weights they kept.
    description = {**dataclasses.asdict(search), "metric": kept(search.metric), "trials": total}
    description["sampler"] = type(search).__name__
    with (
        context.place.executor(context.settings.jobs) as executor,
        claimed(context, axes, description, _threads(context, total, devices)) as parent,
    ):
        outcomes = Outcomes(context, parent)
        studies: list[RecordedStudy] = []

        def source() -> Source:
            study = RecordedStudy(parent.study_file, parent.row.name, search, space)
            studies.append(study)
            parent.record(context.plan.command)
            children = Children(context, parent.row)
            demand = Demand.of(children.settled(base).config)
            trials = Trials(study, search, total, children, demand, outcomes)
            outcomes.count_before(study.counts())
            _announce_search(context, parent, space, total, trials.done_before)
            return trials

        status = _supervise(context, parent, executor, outcomes, source, total)
        best = studies[0].best() if studies else None
        if best is not None:
            write_best(context, parent.row, search.metric, best)
        if status != INTERRUPTED:
            print_comparison(context, parent.row)
        return status


def _composed(plan: Plan, console: Console) -> list[Job]:
    """Compose and check all jobs before the first one starts."""
    jobs = []
    listed = list(points(plan.axes))
    if len(listed) >= _CHECK_SHOWN_FROM and not console.is_terminal:
        console.print(f"checking {len(listed)} configs")  # a terminal shows their count
    with console.status("") as status:
        for number, point in enumerate(listed):
            if len(listed) >= _CHECK_SHOWN_FROM:
                status.update(f"checking config {number + 1} of {len(listed)}")
            jobs.append(plan.compose(point))
    return jobs


def _threads(context: Context, jobs: int, devices: int) -> int:
    """CPU threads of each process of a job."""
    return context.place.threads_per_job(min(context.settings.jobs or jobs, jobs), devices)


def _supervise(
    context: Context,
    parent: Parent,
    executor: Executor,
    outcomes: Outcomes,
    make_source: Callable[[], Source],
    total: int,
) -> int:
    """Run the jobs of a source and close the parent run; returns the exit status."""
    stop, jobs = StopRequest(), RunningJobs(executor, context.store, parent.row.id)
    with stop.installed(), parent.run.delivering(context.warn):
        try:
            parent.run.status("RUNNING")
            source = make_source()
            with Board(context.console, source.total) as board, stop.listening():
                Scheduler(source, jobs, outcomes, board, stop, context.settings.fail_fast).run()
        except (KeyboardInterrupt, Interrupted):
            stop.requested = True
        except BaseException as error:  # an error of the sweep itself: let its jobs save checkpoints
            jobs.stop_all("interrupted")
            jobs.wait_till_saved()
            jobs.end_all()
            parent.run.status("FAILED", f"{type(error).__name__}: {error}")
            raise
        stop.patient = True  # finalising; Ctrl-C is ignored
        with stop.listening():
            outcomes.count_interrupted(jobs.end_all())
            return outcomes.conclude(total, stop.requested)


def _announce(context: Context, parent: Parent, found: Sequence[Standing]) -> None:
    """Print how many jobs are done, resumable and outdated."""
    done = sum(standing.done is not None for standing in found)
    begun = sum(standing.begun is not None for standing in found)
    parts = [f"{len(found)} jobs"]
    parts += [f"{done} finished before"] if done else []
    parts += [f"{begun} to resume"] if begun else []
    row = parent.row
    context.say(f"Sweep {row.name}: {', '.join(parts)}  (run {row.id} in {context.store.uri})")
    older = [standing for standing in found if standing.older]
    if older:
        commits = ", ".join(sorted({standing.older[:10] for standing in older}))
        keep = context.settings.stale == "keep"
        action = "kept; sweep.stale=redo trains them again" if keep else "trained again"
        context.say(f"{len(older)} were finished by older code ({commits}): {action}.")
        for standing in older[:_LISTED]:
            context.say(f"  {' '.join(f'{key}={value}' for key, value in standing.job.point.items())}")
        if len(older) > _LISTED:
            context.say(f"  and {len(older) - _LISTED} more")


def _announce_search(context: Context, parent: Parent, space: Space, total: int, done: int) -> None:
    row = parent.row
    before = f", {done} done before" if done else ""
    context.say(f"Search {row.name}: {total} trials{before}  (run {row.id} in {context.store.uri})")
    for key, dimension in space.items():
        context.say(f"  {key}: {dimension.text}")
