"""The commands `facelab compare` and `facelab best`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from rich.text import Text

from facelab.compare.long import NAME, Format, as_bytes, long_table
from facelab.compare.ranking import uneven
from facelab.compare.report import print_remarks, print_study, write_files, write_report
from facelab.compare.shown import shown_estimate, shown_value
from facelab.compare.table import Study, estimate_of, recorded_metrics, study_of_runs, study_of_sweep
from facelab.config.build import build
from facelab.errors import ConfigError
from facelab.studies.registration import RegisteredStudy, read_study
from facelab.studies.written import study_grid, write_study
from facelab.system import check_path, make_console, replace_files, training_command
from facelab.tracking import (
    ChildRow,
    Store,
    SweepRow,
    children,
    find_sweep,
    runs_by_id,
    sweep_names,
)

_FOLDER_OF_RUNS = "comparison"
_STDOUT = "-"


@dataclass(frozen=True)
class Comparison:
    """The root of the `compare` config.

    Args:
        tracking: the store to search.
        sweep: name of a sweep, or id of its parent run.
        runs: ids of the runs to compare, instead of a sweep.
        metrics: metrics to show; the first ranks the runs. Null for the headline metrics.
        out: folder for the files; null for the sweep's own, or `comparison` for single runs; `-` prints the long table.
        format: write the long table in this format, and nothing else; null for page, Markdown and the wide table.
        runs_folder: where runs keep their files.
        study: folder of experiments/: write its README.md and figures instead, from the sweep of its name.
        partial: write a study also if runs are missing.
    """

    tracking: Store
    sweep: str | None = None
    runs: list[str] | None = None
    metrics: list[str] | None = None
    out: str | None = None
    format: Format | None = None
    runs_folder: str = "runs"
    study: str | None = None
    partial: bool = False


@dataclass(frozen=True)
class Best:
    """The root of the `best` config.

    Args:
        tracking: the store to search.
        sweep: name of a sweep, or id of its parent run.
        metric: metric that ranks the runs; null for the search's own, or the one `facelab compare` shows first.
        direction: whether the highest or the lowest value is best; null for the metric's own direction.
        runs_folder: where runs keep their files.
    """

    tracking: Store
    sweep: str
    metric: str | None = None
    direction: Literal["maximize", "minimize"] | None = None
    runs_folder: str = "runs"


def compare(config: Mapping[str, Any]) -> None:
    """Print a comparison of a sweep or of runs, and write it as CSV, Markdown and one HTML page.

    With `format`, only write its long table.

    Args:
        config: a checked config of `Comparison`.

    Raises:
        ConfigError: there is no store, or no such sweep, run or metric in it, no run has finished, or the folder cannot
            be written.
        TrackingError: the store cannot be reached or read.
    """
    options = Comparison(**build(config))
    if options.study is not None:
        _write_study(options)
        return
    if (options.sweep is None) == (options.runs is None):
        given = "Neither sweep nor runs is given" if options.sweep is None else "Both sweep and runs are given"
        raise ConfigError(f"{given}. Type one of sweep=<name or run id> and runs=[<run id>,<run id>,...].")
    if options.metrics == []:
        raise ConfigError("metrics: the list is empty. Name at least one metric, or remove metrics=.")
    _refuse_out(options)
    store, runs_folder = options.tracking, Path(options.runs_folder)
    store.refuse_missing()
    sweep = None if options.runs is not None else _sweep(store, options.sweep or "")
    if sweep is None:
        study, folder = study_of_runs(_runs(store, options.runs or []), options.metrics), Path(_FOLDER_OF_RUNS)
    else:
        study, folder = study_of_sweep(sweep, children(store, sweep.id), options.metrics), runs_folder / sweep.id
    if sweep is None or study.counted:
        _refuse_unknown_metrics(study, options.metrics, "metrics")
    if options.format is not None:
        _write_long(study, options, folder)
    else:
        _report(study, sweep, options, folder)


def _write_study(options: Comparison) -> None:
    """Write the README and figures of a study, and print what they say."""
    given = {"runs": options.runs, "metrics": options.metrics, "out": options.out, "format": options.format}
    if odd := [key for key, value in given.items() if value is not None]:
        raise ConfigError(f"{odd[0]}: does not go with study=, whose files and metric are registered. Leave it out.")
    study, store = read_study(options.study or ""), options.tracking
    sweep = _sweep_of_study(study, options)
    grid = None if sweep is None else study_grid(study, sweep, store, Path(options.runs_folder))
    text, files = write_study(study, grid, store, Path(options.runs_folder), options.partial)
    print("\n".join([text, "", *map(str, files)]))


def _sweep_of_study(study: RegisteredStudy, options: Comparison) -> SweepRow | None:
    """The sweep of a study; None before its first run, of which `partial` is enough."""
    name = options.sweep or study.folder.name
    try:
        options.tracking.refuse_missing()
        return _sweep(options.tracking, name)
    except ConfigError as error:
        if options.partial and options.sweep is None:
            return None
        raise ConfigError(f"{error} To start the study: python train.py {study.command}") from error


def _report(study: Study, sweep: SweepRow | None, options: Comparison, folder: Path) -> None:
    """Print the comparison and write its files."""
    out, console = Path(options.out) if options.out else folder, make_console()
    if sweep is not None:
        write_report(options.tracking, sweep, study, out, Path(options.runs_folder), console)
        _refuse_unfinished(sweep, study)
        return
    print_study(console, study)
    write_files(options.tracking, study, out, Path(options.runs_folder), console)


def _refuse_out(options: Comparison) -> None:
    suffix = Path(options.out or "").suffix.removeprefix(".")
    if suffix in get_args(Format):
        raise ConfigError(
            f"out: {options.out} is the name of a file, and a folder is expected, which gets {NAME}.{suffix} with "
            f"format={suffix}. Type out=<folder>, or format=csv out=- to print the table."
        )
    if options.out == _STDOUT and options.format not in ("csv", "json"):
        given = "a page" if options.format is None else options.format
        raise ConfigError(f"out=-: {given} cannot be printed. Add format=csv or format=json, or name a folder.")


def _write_long(study: Study, options: Comparison, folder: Path) -> None:
    """Print the long table, or write it and print the path; `folder` is that of a comparison without `out`."""
    form = options.format
    assert form is not None
    table = long_table(study, options.metrics)
    if not len(table):
        raise ConfigError("format: no run has recorded a metric yet, so the table would be empty. Train first.")
    content = as_bytes(table, form)
    if options.out == _STDOUT:
        sys.stdout.write(content.decode())
        return
    file = ((Path(options.out) if options.out else folder) / f"{NAME}.{form}").absolute()
    try:
        replace_files({file: content})
    except OSError as error:
        raise ConfigError(
            f"out: {file} cannot be written ({error}). Choose another folder with out=<folder>."
        ) from error
    runs = len(set(table["run_id"].to_pylist()))
    line = f"{file}  ({len(table):,} rows: a run and a metric each; {runs:,} run{'s' if runs != 1 else ''})"
    make_console().print(Text(line), soft_wrap=True)


def best(config: Mapping[str, Any]) -> None:
    """Print the best run of a sweep, and the best mean over its replicates.

    Args:
        config: a checked config of `Best`.

    Raises:
        ConfigError: there is no store, or no such sweep or metric in it, or no run has finished.
        TrackingError: the store cannot be reached or read.
    """
    options = Best(**build(config))
    console = make_console()
    options.tracking.refuse_missing()
    sweep = _sweep(options.tracking, options.sweep)
    study = study_of_sweep(sweep, children(options.tracking, sweep.id), [options.metric] if options.metric else None)
    if not study.counted:
        print_remarks(console, study)
    _refuse_unfinished(sweep, study)
    _refuse_unknown_metrics(study, [options.metric] if options.metric else None, "metric")
    metric = study.metrics[0]
    lowest = study.lowest_first if options.direction is None else options.direction == "minimize"
    ranked = sorted(study.ranked, key=lambda run: run.metrics[metric], reverse=not lowest)
    if not ranked:
        raise ConfigError(f"metric={metric}: no finished run of {sweep.name} has a finite value of it.")
    chosen = ranked[0]
    folder = (Path(options.runs_folder) / chosen.id).absolute()
    check_path("runs_folder", folder)
    lines = {
        "value": f"{metric} = {shown_value(study.metric(metric), chosen.metrics[metric])}",
        "run": chosen.id,
        "name": chosen.name,
        "point": " ".join(f"{key}={value}" for key, value in chosen.point.items()) or "the sweep has no axes",
        "files": str(folder) if folder.is_dir() else f"not in {folder.parent}; see MLflow, {options.tracking.uri}",
    }
    if any(name.startswith("generation/") for name in chosen.metrics):
        lines["use"] = f"facelab generate run={chosen.id}"
    end = "lowest" if lowest else "highest"
    runs = f"{len(ranked)} finished run{'s' if len(ranked) > 1 else ''}"
    console.print(f"The best of {runs} of {sweep.name}: {end} {metric}", highlight=False, soft_wrap=True)
    for key, value in lines.items():
        console.print(Text(f"  {key:<9}{value}"), soft_wrap=True)
    means = [(found, group) for group in study.groups if (found := estimate_of(group, metric)) is not None]
    if study.replicates and len(means) > 1:
        found, group = (min if lowest else max)(means, key=lambda pair: pair[0].mean)
        over = " and ".join(study.replicates)
        text = f"The best mean over {over}: {group.label} with {shown_estimate(study.metric(metric), found)}"
        console.print(Text(f"{text}\n{uneven(study)}".rstrip()), soft_wrap=True)
    if metric.split("/")[0] not in ("best", "val", "train"):
        console.print("This metric also selected the run, so its value is optimistic.", style="dim")


def _sweep(store: Store, name: str) -> SweepRow:
    found = find_sweep(store, name)
    if found is not None:
        return found
    names = sweep_names(store)
    if not names:
        raise ConfigError(
            f"sweep={name}: there are no sweeps in {store.uri} (experiment '{store.experiment}') yet. Start one with "
            f"{training_command()} -m ..., or choose another store or experiment with tracking.folder or "
            "tracking.experiment."
        )
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise ConfigError(
        f"sweep={name}: there is no such sweep in {store.uri} (experiment '{store.experiment}').{hint} The "
        f"newest: {', '.join(dict.fromkeys(names[:10]))}."
    )


def _runs(store: Store, ids: Sequence[str]) -> list[ChildRow]:
    if not ids:
        raise ConfigError("runs: the list is empty. Give at least one run id; `facelab runs` lists them.")
    unique = list(dict.fromkeys(ids))
    rows = runs_by_id(store, unique)
    unknown = [run_id for run_id, row in zip(unique, rows, strict=True) if row is None]
    if unknown:
        raise ConfigError(f"runs: {store.uri} has no run {', '.join(unknown)}. `facelab runs` lists the runs.")
    return [row for row in rows if row is not None]


def _refuse_unknown_metrics(study: Study, requested: Sequence[str] | None, key: str) -> None:
    had = recorded_metrics(study.counted)
    unknown = [name for name in requested or () if name not in had]
    if not unknown:
        return
    name = unknown[0]
    near = get_close_matches(name, had, n=3)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    listed = sorted(had)
    more = f" and {len(listed) - 30} more" if len(listed) > 30 else ""
    raise ConfigError(
        f"{key}: no finished run has a metric '{name}'.{hint} Recorded: {', '.join(listed[:30]) or 'none'}{more}."
    )


def _refuse_unfinished(sweep: SweepRow, study: Study) -> None:
    if not study.counted:
        states = ", ".join(f"{count} {state.lower()}" for state, count in study.states.items())
        raise ConfigError(
            f"sweep={sweep.name}: none of its runs has finished yet ({states or 'it has none'}). To resume it, repeat "
            f"its command: {sweep.command}"
        )
