"""Write the best trial of a search as an experiment config for `facelab train`."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from facelab.sweep.plan import axis_name


def folder_name(sweep: str, taken: Collection[str]) -> str:
    """The folder of a search's best config: a name that Hydra takes after `+`, of ASCII letters, digits and `_`.

    Args:
        sweep: name of the search.
        taken: root keys of the config and names of its groups.
    """
    name = re.sub(r"\W+", "_", sweep, flags=re.ASCII)
    return name if name not in taken and not name[0].isdigit() else f"search_{name}"


def overlay(overrides: Mapping[str, str], fixed: Sequence[str], command: str, groups: Collection[str]) -> str:
    """The config of a trial as an experiment, for `python train.py +<folder>=<file>`.

    Args:
        overrides: values of the trial by key as typed, such as `+few_shot/arm`, as text of the command line.
        fixed: the other overrides of the sweep, such as `split=kfold` or `+few_shot=sweep`; of equal keys, the last
            holds.
        command: that ran the search.
        groups: names of the config groups, such as `model`.

    Returns:
        The text of the YAML file.
    """
    parsed = OverridesParser.create().parse_overrides([*fixed, *(f"{key}={text}" for key, text in overrides.items())])
    added: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    body = OmegaConf.create({})
    beyond = []
    for override in parsed:
        name, value = axis_name(override), override.value()
        if override.is_add() and "." not in name and name not in groups:  # an experiment; other root keys exist
            added[name] = value
        elif override.key_or_group in groups or "/" in name:
            chosen[name] = None if override.is_delete() else value
        elif override.is_delete() or any(part.isdigit() for part in name.split(".")):
            beyond.append(override.input_line or "")
        else:
            OmegaConf.update(body, name, value, force_add=True)
    return _yaml(added, chosen, body, command, beyond)


def _yaml(
    added: Mapping[str, Any], chosen: Mapping[str, Any], body: DictConfig, command: str, beyond: Sequence[str]
) -> str:
    """Text of the file. Overrides that a config file cannot express are listed as comments."""
    lines = ["# @package _global_", f"# The best trial of: {' '.join(command.split())}"]
    lines += [f"# Not possible in a file; add to the command line: {line}" for line in beyond]
    text = "\n".join(lines) + "\n"
    defaults = [{f"/{name}": value} for name, value in added.items()]
    defaults += [{f"override /{name}": value} for name, value in chosen.items()]
    if added:
        body = cast(DictConfig, OmegaConf.merge(body, {"hydra": {"mode": "RUN"}}))  # one of them may be a sweep
    if defaults:
        text += OmegaConf.to_yaml(OmegaConf.create({"defaults": defaults}))
    return text + (OmegaConf.to_yaml(body) if body else "")
