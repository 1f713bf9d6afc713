"""Find or create the parent run of a sweep, and lock it for this process."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from facelab.errors import ConfigError, TrackingError
from facelab.studies.registration import RegisteredStudy, refuse_changed
from facelab.sweep.context import Context
from facelab.sweep.plan import Plan
from facelab.sweep.search import sampler_of
from facelab.tracking import (
    SILENT_AFTER_S,
    Store,
    SweepRow,
    TrackedRun,
    begin_sweep,
    children,
    find_sweep,
    record_registration,
    record_sweep,
    runs_by_id,
)


@dataclass(frozen=True)
class Parent:
    """A sweep's parent run, locked by this process.

    Args:
        row: the sweep as recorded.
        run: the parent run.
        axes: of the current command.
        search: settings of the current command; None for a plain sweep.
    """

    row: SweepRow
    run: TrackedRun
    axes: Mapping[str, list[str]]
    search: Mapping[str, Any] | None

    @property
    def study_file(self) -> Path:
        """Where a search keeps its trials."""
        return self.run.folder / "study.log"

    def record(self, command: str) -> None:
        """Record axes, search settings and command, once they have been checked."""
        record_sweep(self.run, self.row, self.axes, command, self.search)


@contextmanager
def claimed(
    context: Context,
    axes: Mapping[str, list[str]],
    search: Mapping[str, Any] | None,
    threads: int,
    study: RegisteredStudy | None = None,
) -> Iterator[Parent]:
    """Find or create a sweep's parent run, and hold its lock within the block.

    Args:
        context: of the sweep.
        axes: swept keys with their values.
        search: settings of a search; None for a plain sweep.
        threads: CPU threads of each job, if the sweep is new.
        study: that it makes the runs of.

    Raises:
        ConfigError: another sweep has that name, another process runs it, or its study's registration has changed.
        TrackingError: the store cannot be read or written.
    """
    plan, store, runs_folder = context.plan, context.store, context.runs_folder
    name = context.settings.name or plan.default_name
    runs_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(runs_folder / "sweeps.lock"):  # parallel first starts must not create two sweeps
        row = find_sweep(store, name)
        if row is None:
            begin_sweep(store, name, axes, plan.identity, plan.command, search, threads, runs_folder)
            row = find_sweep(store, name)
            assert row is not None
        _refuse_another(row, name, axes, plan)
        if study is not None:
            if row.registration is None and not children(store, row.id):
                record_registration(store, row.id, study.files, study.digest)
                row = replace(row, registration=study.digest)
            refuse_changed(study, row)
        run = _open(row, name, store, runs_folder)
    lock = FileLock(run.folder / "sweep.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            f"sweep.name: the sweep '{name}' is being run by another process. Wait for it, or stop it first."
        ) from None
    try:
        yield Parent(row, run, axes, search)
    finally:
        lock.release()


def _open(row: SweepRow, name: str, store: Store, runs_folder: Path) -> TrackedRun:
    try:
        return TrackedRun.open(runs_folder / row.id)
    except TrackingError:
        (seen,) = runs_by_id(store, [row.id])
        if seen is not None and seen.status == "RUNNING" and time.time() - seen.alive_s < SILENT_AFTER_S:
            raise ConfigError(
                f"sweep.name: the sweep '{name}' is being run from another folder or machine. Wait for it, or resume "
                "it there. If its runs are in another folder, add runtime.runs_folder=<folder>."
            ) from None
        return TrackedRun.adopt(store, row.id, name, runs_folder)


def _refuse_another(row: SweepRow, name: str, axes: Mapping[str, list[str]], plan: Plan) -> None:
    """Raise if the name belongs to a different sweep; the values of its axes may change."""
    differences = []
    if plan.searching != (row.search is not None):
        differences.append("one of them is a search and the other is not")
    elif sampler_of(row.search) != plan.sampler:
        differences.append(f"its trials are drawn by {sampler_of(row.search)} (algorithm and seed), not {plan.sampler}")
    if set(row.axes) != set(axes):
        differences.append(f"its axes are {', '.join(row.axes) or 'none'}, and now {', '.join(axes) or 'none'}")
    now, then = set(plan.identity), set(row.fixed)
    if now != then:
        differences.append(
            f"it has {', '.join(sorted(then)) or 'nothing'} fixed, and now {', '.join(sorted(now)) or 'nothing'}"
        )
    if differences:
        raise ConfigError(
            f"sweep.name={name}: there is another sweep of this name: {'; '.join(differences)}. It was started with: "
            f"{row.command}. Choose another name, or give the same axes and choices (axes may have more values)."
        )
