"""Results at the end of a sweep: the comparison of its runs, and the best config of a search."""

from collections.abc import Mapping
from pathlib import Path

from facelab.errors import ConfigError, FacelabError
from facelab.sweep.context import Context
from facelab.sweep.overlay import folder_name, overlay
from facelab.system import replace_files, training_command
from facelab.tracking import SweepRow, find_sweep


def print_comparison(context: Context, row: SweepRow) -> None:
    """Compare the runs of a sweep, as `facelab compare` does."""
    from facelab.compare.report import report  # deferred: slow, and not needed at the start

    context.say("")
    try:
        now = find_sweep(context.store, row.id)  # with the values that this command has added
        report(context.store, now or row, context.runs_folder, context.console)
    except FacelabError as error:
        context.warn(f"The comparison failed: {error}\nRepeat it with: facelab compare sweep={row.name}")


def write_best(context: Context, row: SweepRow, metric: str, best: tuple[int, float, Mapping[str, str]]) -> None:
    """Write the best trial as an experiment, `experiments/<sweep>/best.yaml`, and print how to train it.

    If that file cannot be written, the command has all overrides instead.

    Args:
        context: of the sweep.
        row: its parent run.
        metric: metric of the search.
        best: the trial's number, value and overrides.
    """
    number, value, overrides = best
    plan = context.plan
    texts = " ".join(f"{key}={text}" for key, text in overrides.items())
    context.say(f"Best: trial {number}, {metric} {value:.4f} with {texts}")
    try:
        job = plan.compose(overrides, number)
    except ConfigError as error:
        context.warn(f"The config of trial {number} is not valid any more: {error}")
        return
    name = folder_name(row.name, {*job.config, *job.choices, "hydra"})
    file = Path("experiments") / name / "best.yaml"
    try:
        text = overlay(plan.typed(overrides), plan.lasting, plan.command, job.choices.keys())
        replace_files({file: text.encode()})
    except OSError as error:
        context.warn(f"{file} cannot be written ({error}).")
        context.say(f"Train it: {training_command(job.overrides)}")
    else:
        context.say(f"Train it: {training_command()} +{name}=best   ({file})")
