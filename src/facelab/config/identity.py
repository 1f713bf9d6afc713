"""The identity of a config: its flat keys and its hash."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Root keys that say where and how a run is made, and not which.
NO_PART_OF_A_RUN = ("runtime", "tracking", "resume", "sweep", "executor", "search")


def config_hash(config: Mapping[str, Any]) -> str:
    """What a run is, in 64 hexadecimal digits: two runs of one hash on the same pictures and kind of machine would give
    the same result.

    Left out are `runtime`, `tracking`, the name, and on how many devices of which kind. Precision and number of threads
    count, since both change rounding. The pictures of a folder have a fingerprint of their own, a tag of the run.

    Args:
        config: of a run, with every `auto` resolved.
    """
    kept = {key: value for key, value in config.items() if key not in (*NO_PART_OF_A_RUN, "name")}
    kept["trainer"] = {k: v for k, v in config["trainer"].items() if k not in ("accelerator", "devices")}
    return hashlib.sha256(json.dumps(flatten(kept), sort_keys=True).encode()).hexdigest()


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested config by dotted key; lists are leaves unless they hold nodes."""
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
