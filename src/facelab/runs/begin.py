"""Create a run in MLflow and its folder."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facelab.config.build import build
from facelab.config.identity import NO_PART_OF_A_RUN, config_hash, flatten
from facelab.data.splits.base import Split
from facelab.models.trained import CONFIG
from facelab.runs.resume import write_config
from facelab.tracking import COMMAND, CONFIG_HASH, Store, TrackedRun
from facelab.tracking.note import without_passwords
from facelab.training.trainer import TrainerSettings


def resolved(config: Mapping[str, Any], elsewhere: bool = False) -> dict[str, Any]:
    """The config as recorded: with every `auto` resolved and sweep-only keys dropped.

    Args:
        config: checked, plain dicts and lists.
        elsewhere: whether another machine will train the run; `auto` is then refused.

    Raises:
        ConfigError: this machine lacks hardware that the config asks for, or `auto` is left for another machine.
    """
    settings: TrainerSettings = build({"trainer": config["trainer"]})["trainer"]
    if elsewhere:
        settings.refuse_auto()
    else:
        settings = settings.resolved()
    kept = {key: value for key, value in config.items() if key in _KEPT or key not in NO_PART_OF_A_RUN}
    return {**kept, "trainer": {**config["trainer"], **dataclasses.asdict(settings)}}


_KEPT = ("runtime", "tracking")


def begin(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
    name: str | None = None,
    command: str = "",
) -> TrackedRun:
    """Create the run in MLflow and its folder.

    Args:
        config: as `resolved` returns it.
        choices: the file chosen in each config group, such as `model: cnn`.
        tags: additional tags of the run.
        name: used if the config has none; None for a name made of model, split and seed.
        command: the command line that makes it again; empty if there is none.

    Raises:
        TrackingError: the store cannot be reached or written; no run is created.
    """
    built = build({key: config[key] for key in ("tracking", "split")})
    store: Store = built["tracking"]
    split: Split = built["split"]
    # Short, because MLflow's columns are narrow: `cnn · k=5 · split=0 · seed=1`.
    default = f"{choices.get('model', 'model')} · {split.title} · seed={config['seed']}"
    params = params_of(config, choices)
    runs_folder = Path(config["runtime"]["runs_folder"])
    hashed = {CONFIG_HASH: config_hash(config)}
    run = TrackedRun.create(store, config["name"] or name or default, params, runs_folder, {**hashed, **(tags or {})})
    write_config(config, run.folder)
    run.file(CONFIG)
    if command:
        run.tag(COMMAND, without_passwords(command))
    return run


def params_of(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, str]:
    """The params of a run in MLflow: its flat config as text, and the file chosen in each config group."""
    chosen = {group: choice for group, choice in choices.items() if group in config}
    return {**chosen, **{key: _text(value) for key, value in flatten(config).items()}}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
