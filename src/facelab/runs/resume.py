"""Find an interrupted run and the checkpoint to resume it from."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from facelab.config.check import check
from facelab.config.identity import NO_PART_OF_A_RUN, flatten
from facelab.config.load import load_yaml
from facelab.errors import ConfigError, TrackingError
from facelab.models.trained import CONFIG
from facelab.runs.experiment import Experiment
from facelab.tracking import TrackedRun
from facelab.training.checkpoint import Checkpoint, newest

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class InterruptedRun:
    """A run that can be resumed.

    Args:
        tracked: the run.
        config: its own config, with the `runtime` values of this command.
        checkpoint: the newest usable one; None if the run was interrupted before its first.
        faults: why newer checkpoints cannot be used.
        data_fingerprint: of the images it started with; None if it was not recorded.
    """

    tracked: TrackedRun
    config: dict[str, Any]
    checkpoint: Checkpoint | None
    faults: list[str]
    data_fingerprint: str | None


def find(
    run_id: str, composed: Mapping[str, Any], default: Mapping[str, Any], typed: Collection[str]
) -> InterruptedRun:
    """Find a run by its id.

    Args:
        run_id: as in MLflow.
        composed: the config composed from the current command line, checked.
        default: the config composed without arguments.
        typed: keys and groups typed on the command line.

    Raises:
        ConfigError: there is no such run, it has finished, or the command line asks for another config than its own.
        CheckpointError: it has checkpoints, but none can be used.
    """
    runs_folder = Path(composed["runtime"]["runs_folder"])
    folder = (runs_folder / run_id).absolute()
    try:
        tracked = TrackedRun.open(folder)
        if not (folder / CONFIG).exists():
            raise ConfigError(
                f"resume={run_id}: '{tracked.name}' has no {CONFIG}: it is a sweep, or was stopped before it began. To "
                "resume a sweep, repeat its command; to resume a run of it, give the id of that run."
            )
        saved = read_config(folder)
    except (TrackingError, OSError) as error:
        raise ConfigError(
            f"resume={run_id}: there is no such run in {runs_folder.absolute()}.{_others(runs_folder)} Runs keep their "
            "files in the folder they were started in; name another one with runtime.runs_folder=<folder>."
        ) from error
    if "evaluates" in saved:
        raise ConfigError(
            f"resume={run_id}: this is an evaluation, which cannot be resumed. Repeat it: facelab evaluate "
            f"run={saved['evaluates']} ..."
        )
    if tracked.ended == "FINISHED":
        raise ConfigError(f"resume={run_id}: the run has finished. Start a new one instead.")
    _check(saved, folder)
    asks = _asking(composed, default, typed)
    _refuse_changes(run_id, saved, composed, asks)
    return reopen(tracked, {key: value for key, value in composed["runtime"].items() if asks(f"runtime.{key}")})


def reopen(tracked: TrackedRun, runtime: Mapping[str, Any]) -> InterruptedRun:
    """Find the newest usable checkpoint of a run.

    Args:
        tracked: the run.
        runtime: values that replace those of its `runtime`.

    Raises:
        ConfigError: its config was changed by hand.
        CheckpointError: it has checkpoints, but none can be used.
    """
    saved = read_config(tracked.folder)
    _check(saved, tracked.folder)
    config = {**saved, "runtime": {**saved["runtime"], **runtime}}
    checkpoint, faults = newest(tracked.folder / CHECKPOINTS)
    if checkpoint is not None:
        kept, now = (_identity(values) for values in (checkpoint.config, config))
        if kept != now:
            raise ConfigError(
                f"resume={tracked.id}: {tracked.folder / CONFIG} was changed since the checkpoint was saved: "
                f"{_differences(_unequal(now, kept), now, kept)}. Change it back, or start a new run."
            )
    return InterruptedRun(tracked, config, checkpoint, faults, tracked.recorded_tag("data.fingerprint"))


def _check(saved: Mapping[str, Any], folder: Path) -> None:
    """See that a run's config is complete and names only what may be built."""
    try:
        check(saved, Experiment)
    except ConfigError as error:
        raise ConfigError(f"{folder / CONFIG}: {error}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config of a run from its folder.

    Raises:
        OSError: it cannot be read.
        ConfigError: it is damaged.
    """
    return load_yaml(folder / CONFIG)


def write_config(config: Mapping[str, Any], folder: Path) -> None:
    """Save the config in the run's folder."""
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    partial = folder / f"{CONFIG}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / CONFIG)


def _asking(composed: Mapping[str, Any], default: Mapping[str, Any], typed: Collection[str]) -> Callable[[str], bool]:
    """Whether a command line sets a key: typed itself or by its group, or changed by an experiment."""
    now, plain = flatten(composed), flatten(default)

    def asks(key: str) -> bool:
        is_typed = any(key == name or key.startswith(f"{name}.") for name in typed)
        return is_typed or now.get(key, _ABSENT) != plain.get(key, _ABSENT)

    return asks


def _refuse_changes(
    run_id: str, saved: Mapping[str, Any], composed: Mapping[str, Any], asks: Callable[[str], bool]
) -> None:
    """Raise if the command line asks for a config that differs from the run's own."""
    now, own = (
        flatten({name: value for name, value in config.items() if name not in ("runtime", "resume")})
        for config in (composed, saved)
    )
    different = [key for key in _unequal(now, own) if asks(key) and not _is_left_open(key, now.get(key, _ABSENT))]
    if different:
        raise ConfigError(
            f"resume={run_id}: a resumed run keeps its own config, which differs: {_differences(different, now, own)}. "
            "Remove these arguments, or start a new run with them; only runtime.* can change."
        )


_ABSENT = object()
_SHOWN = 8


def _is_left_open(key: str, value: object) -> bool:
    """Whether the value of a key leaves the choice to the machine; a run records what was chosen."""
    return key.startswith("trainer.") and value in ("auto", None)


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The flat config without the keys that may change when a run is resumed."""
    return flatten({name: value for name, value in config.items() if name not in NO_PART_OF_A_RUN})


def _unequal(now: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    return [key for key in {**now, **own} if now.get(key, _ABSENT) != own.get(key, _ABSENT)]


def _differences(keys: Iterable[str], now: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    def shown(config: Mapping[str, Any], key: str) -> str:
        return repr(config[key]) if key in config else "absent"

    found = [f"{key} is {shown(now, key)} now and {shown(own, key)} in the run" for key in keys]
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return "; ".join(found[:_SHOWN] + more)


def _others(runs_folder: Path) -> str:
    """Name a few unfinished runs, for an error message."""
    found = []
    for lines in sorted(runs_folder.glob("*/spool.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)[:20]:
        try:
            run, config = TrackedRun.open(lines.parent), read_config(lines.parent)
        except (TrackingError, ConfigError, OSError):
            continue  # a sweep, or a folder that a full disk left without records
        if run.ended != "FINISHED" and "evaluates" not in config:
            found.append(f"{run.id} ({run.name})")
    return f" Unfinished runs: {', '.join(found[:5])}." if found else ""
