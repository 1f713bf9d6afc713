"""Flatten and hash configs."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Root keys that set where and how a run executes; they do not affect its result.
NO_PART_OF_A_RUN = ("runtime", "tracking", "resume", "sweep", "executor", "search")


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of the keys that determine a run's result, in hexadecimal; see `determining`.

    Runs with equal hashes give equal results on the same kind and number of devices, with the same images, split and
    contents of the files that the config names. The images, the split and the weights in `model.init_from` have hashes
    of their own, tags of the run.

    Args:
        config: of a run, with every `auto` resolved.
    """
    return hashlib.sha256(json.dumps(determining(config), sort_keys=True).encode()).hexdigest()


def determining(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that determine a run's result, flat.

    All but `NO_PART_OF_A_RUN`, `name`, `trainer.accelerator` and `trainer.devices`, although batch normalisation and
    losses that compare the images of a batch depend on the number of devices; precision and threads are among them,
    since both change rounding.

    Args:
        config: of a run, with every `auto` resolved.
    """
    kept = {key: value for key, value in config.items() if key not in (*NO_PART_OF_A_RUN, "name")}
    kept["trainer"] = {k: v for k, v in config["trainer"].items() if k not in ("accelerator", "devices")}
    return flatten(kept)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested config to leaves by dotted key; lists are leaves unless they hold dicts."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{key}."))
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            flat.update(flatten({str(i): item for i, item in enumerate(value)}, f"{key}."))
        else:
            flat[key] = value
    return flat
