"""Locate and compose configs, and explain Hydra's errors.

This module avoids slow imports, so that `--help` and `--cfg job` respond immediately.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

if TYPE_CHECKING:
    pass


def config_folder() -> Path:
    """Path of `conf/`, in the installed package or in the checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"


def choices_of(hydra_config: Any, config: Mapping[str, Any]) -> dict[str, str]:
    """The chosen file of each config group.

    Args:
        hydra_config: Hydra's own part of a composed config.
        config: the rest of it.
    """
    return {name: str(choice) for name, choice in hydra_config.runtime.choices.items() if name in config}


def explain_syntax(message: str) -> str:
    """Add the syntax rules to an error of Hydra's lexer, which names the position but not the cause."""
    return (
        f"{' '.join(message.split())}\nValues are written key=value. Hydra gives ~ , {{ }} [ ] ( ) = and spaces "
        "a meaning: write $HOME for ~, runs=[a,b] for lists, and quote the rest, as in 'data.root=\"a, b\"'."
    )


def explain_composition(error: Exception, config_name: str, arguments: Sequence[str]) -> str:
    """Explain an error of Hydra's composition, with the nearest valid key or choice."""
    from facelab.config.build import nearest

    text = str(error)
    unknown_choice = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if unknown_choice:
        group, choice = unknown_choice.groups()
        options = _options(group)
        if options:
            listed = ", ".join(options)
            return f"{group}={choice}: there is no such choice.{nearest(choice, options)} {group} is one of: {listed}."
        return f"+{group}={choice}: there is no such experiment. There are: {', '.join('+' + o for o in overlays())}."
    unknown_key = re.search(r"Could not (?:override|append|delete)[^']*'([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    )
    if unknown_key:
        key = unknown_key.group(1).split("@")[0]
        keys = _known_keys(config_name, arguments)
        by_last = {known.rpartition(".")[2]: known for known in keys}
        hint = nearest(key, keys)
        if not hint:  # try the last part: batch_size for model.recipe.batch_size
            hint = nearest(key.rpartition(".")[2], list(by_last))
            for last, full in by_last.items():
                hint = hint.replace(f"'{last}'?", f"'{full}'?")
        return f"{key}: unknown key.{hint} `--cfg job` prints every key, `--help` every choice."
    return " ".join(text.split()) or type(error).__name__


def _known_keys(config_name: str, arguments: Sequence[str]) -> list[str]:
    """All keys of the config, composed with the valid ones of the arguments."""
    from facelab.config.identity import flatten

    GlobalHydra.instance().clear()
    accepted: list[str] = []
    keys: set[str] = set()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        for argument in ["", *(a for a in arguments if "=" in a and "," not in a)]:
            try:
                composed = compose(config_name, [*accepted, argument] if argument else accepted)
            except (HydraException, OmegaConfBaseException):
                continue
            accepted += [argument] if argument else []
            flat = flatten(OmegaConf.to_container(composed, resolve=False))  # type: ignore[arg-type]
            for key in flat:
                parts = key.split(".")
                keys.update(".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return sorted(key for key in keys if not key.endswith(("_target_", "_partial_")))


def _options(group: str) -> list[str]:
    """All choices of a config group."""
    folders = (config_folder() / group, Path.cwd() / "conf" / group)
    return sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.yaml")})


def overlays() -> list[str]:
    """All experiments, as typed after `+`, such as `few_shot=sweep`."""
    roots = {config_folder().parent / "experiments", Path.cwd() / "experiments"}
    return sorted({f"{path.parent.name}={path.stem}" for root in roots for path in root.glob("*/*.yaml")})
