"""Find an interrupted run and what is needed to go on with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from facelab.config.identity import NO_PART_OF_A_RUN, flatten
from facelab.config.load import load_yaml
from facelab.errors import ConfigError, TrackingError
from facelab.tracking import TrackedRun
from facelab.training.checkpoint import Checkpoint, newest

CHECKPOINTS, CONFIG = "checkpoints", "config.yaml"


@dataclass(frozen=True)
class InterruptedRun:
    """A run one can go on with.

    Args:
        tracked: the run.
        config: its own, but for what was asked of `runtime` now.
        checkpoint: the newest that can be used; None if the run was interrupted before the first.
        faults: what was wrong with newer ones.
        data_fingerprint: of the pictures it began with, as far as it was recorded.
    """

    tracked: TrackedRun
    config: dict[str, Any]
    checkpoint: Checkpoint | None
    faults: list[str]
    data_fingerprint: str | None


def find(run_id: str, composed: Mapping[str, Any], default: Mapping[str, Any]) -> InterruptedRun:
    """Find a run by its id.

    Args:
        run_id: as in MLflow.
        composed: the config as the command line has it now.
        default: the config as it is without any argument.

    Raises:
        ConfigError: there is no such run, it has finished, or its config is not what it was.
        CheckpointError: it has checkpoints, and none can be used.
    """
    runs_folder = Path(composed["runtime"]["runs_folder"])
    folder = (runs_folder / run_id).absolute()
    try:
        tracked, saved = TrackedRun.open(folder), read_config(folder)
    except (TrackingError, OSError) as error:
        raise ConfigError(
            f"resume={run_id}: there is no such run in {runs_folder.absolute()}.{_others(runs_folder)} Runs keep their "
            "files in the folder they were started in; name another one with runtime.runs_folder=<folder>."
        ) from error
    if tracked.ended == "FINISHED":
        raise ConfigError(f"resume={run_id}: the run has finished. Start a new one for another result.")
    _refuse_changes(run_id, saved, composed, default)
    return reopen(tracked, _asked(composed["runtime"], default["runtime"]))


def reopen(tracked: TrackedRun, runtime: Mapping[str, Any]) -> InterruptedRun:
    """A run with the newest checkpoint it can go on from.

    Args:
        tracked: the run.
        runtime: values of `runtime` that hold from now on.

    Raises:
        ConfigError: its config was changed by hand.
        CheckpointError: it has checkpoints, and none can be used.
    """
    saved = read_config(tracked.folder)
    config = {**saved, "runtime": {**saved["runtime"], **runtime}}
    checkpoint, faults = newest(tracked.folder / CHECKPOINTS)
    if checkpoint is not None:
        kept, now = (_identity(values) for values in (checkpoint.config, config))
        if kept != now:
            raise ConfigError(
                f"resume={tracked.id}: {tracked.folder / CONFIG} was changed since the checkpoint was saved: "
                f"{_differences(now, kept)}. Change it back, or start a new run."
            )
    return InterruptedRun(tracked, config, checkpoint, faults, tracked.recorded_tag("data.fingerprint"))


def read_config(folder: Path) -> dict[str, Any]:
    """The config a run was begun with.

    Raises:
        OSError: it cannot be read.
        ConfigError: it is damaged.
    """
    return load_yaml(folder / CONFIG)


def write_config(config: Mapping[str, Any], folder: Path) -> None:
    """Keep the config in the run's folder."""
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    partial = folder / f"{CONFIG}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / CONFIG)


def _refuse_changes(
    run_id: str, saved: Mapping[str, Any], composed: Mapping[str, Any], default: Mapping[str, Any]
) -> None:
    """A run keeps its config: whoever asks for another one should know."""
    own, now, plain = (_identity(config) for config in (saved, composed, default))
    changed = {key: value for key, value in now.items() if plain.get(key, _ABSENT) != value}
    different = {key: value for key, value in changed.items() if own.get(key, _ABSENT) != value}
    if different:
        raise ConfigError(
            f"resume={run_id}: the run goes on with its own config, which differs: {_differences(different, own)}. "
            "Leave these out, or start a new run with them; only runtime.* can change on the way."
        )


_ABSENT = object()


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The flat config without what may change on the way, or says where and not what."""
    return flatten({name: value for name, value in config.items() if name not in NO_PART_OF_A_RUN})


def _differences(now: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    keys = [key for key in now if own.get(key, _ABSENT) != now[key]]
    missing = [key for key in own if key not in now] if len(now) >= len(own) else []
    shown = [f"{key} is {now[key]!r} now and {own.get(key, 'absent')!r} in the run" for key in keys]
    return "; ".join(shown + [f"{key} is absent now and {own[key]!r} in the run" for key in missing])


def _asked(composed: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in composed.items() if default.get(key) != value}


def _others(runs_folder: Path) -> str:
    """Names a few runs that one can go on with."""
    found = []
    for lines in sorted(runs_folder.glob("*/spool.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)[:20]:
        run = TrackedRun.open(lines.parent)
        if run.ended != "FINISHED":
            found.append(f"{run.id} ({run.name})")
    return f" Unfinished are: {', '.join(found[:5])}." if found else ""
