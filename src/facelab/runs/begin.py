"""Begin a run: from a checked config to an entry in the store and a folder, before anything is loaded or trained."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facelab.config.build import build
from facelab.config.identity import NO_PART_OF_A_RUN, config_hash, flatten
from facelab.data.split import Split
from facelab.runs.resume import CONFIG, write_config
from facelab.tracking import CONFIG_HASH, Store, TrackedRun
from facelab.training.trainer import TrainerSettings


def resolved(config: Mapping[str, Any], elsewhere: bool = False) -> dict[str, Any]:
    """The config as it is kept: with what every `auto` came to, and without what says how a sweep is held together.

    Args:
        config: checked, plain dicts and lists.
        elsewhere: whether another machine is to train it, so that nothing may be left to what this one has.

    Raises:
        ConfigError: this machine has not what the config asks for, or the config leaves open what another one has.
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
) -> TrackedRun:
    """Begin a run.

    Args:
        config: as `resolved` returns it.
        choices: which file of each config group was chosen, such as `model: cnn`.
        tags: further ones for the run.
        name: of the run, if its config gives none; null for one made of model, split and seed.

    Raises:
        TrackingError: the store cannot be reached or written; there is no run then.
    """
    built = build({key: config[key] for key in ("tracking", "split")})
    store: Store = built["tracking"]
    split: Split = built["split"]
    # Short, since MLflow's columns are narrow: such as `cnn · k=5 · split=0 · seed=1`.
    default = f"{choices.get('model', 'model')} · {split.title} · seed={config['seed']}"
    chosen = {group: choice for group, choice in choices.items() if group in config}
    params = {**chosen, **{key: _text(value) for key, value in flatten(config).items()}}
    runs_folder = Path(config["runtime"]["runs_folder"])
    hashed = {CONFIG_HASH: config_hash(config)}
    run = TrackedRun.create(store, config["name"] or name or default, params, runs_folder, {**hashed, **(tags or {})})
    write_config(config, run.folder)
    run.file(CONFIG)
    return run


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
