"""Convert values that look like numbers to text for parameters of type text: `data.root=2024`, `name=true`."""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import OmegaConf

from facelab.config.build import resolve_target
from facelab.config.signatures import annotation_of, items_of, parameters_of, wants_text
from facelab.errors import ConfigError


def typed_values(hydra_config: Any) -> dict[str, str]:
    """Values as typed on the command line, by key; the last one of a repeated key.

    Args:
        hydra_config: Hydra's own part of a composed config, which lists the overrides, such as `name=016`.
    """
    pairs = (text.partition("=") for text in typed_arguments(hydra_config))
    return {key.lstrip("+"): value.strip() for key, equals, value in pairs if equals}


def typed_arguments(hydra_config: Any) -> list[str]:
    """The overrides of the command line, without those of Hydra itself; argument as for `typed_values`."""
    overrides = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
    return [str(override) for override in overrides or ()]


def with_texts(config: Mapping[str, Any], task: Callable[..., Any], typed: Mapping[str, str]) -> dict[str, Any]:
    """Copy a config, with numbers converted to text where the annotation is text.

    Args:
        config: plain dicts and lists.
        task: the function whose arguments are the config's root keys.
        typed: values as typed, to preserve text such as 016 and 1e3. Of numbers from a YAML file only integers are
            converted, since the original text of floats and booleans is lost.

    Returns:
        A copy.
    """
    found = copy.deepcopy(dict(config))
    _visit(found, task, "", typed)
    return found


def _visit(values: dict[str, Any], target: Callable[..., Any], prefix: str, typed: Mapping[str, str]) -> None:
    parameters = parameters_of(target)
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name in parameters:
            values[name] = _as_text(value, annotation_of(target, parameters[name]), typed.get(key))
        _descend(values[name], key, typed)


def _descend(value: Any, key: str, typed: Mapping[str, str]) -> None:
    if isinstance(value, list):
        for number, item in enumerate(value):
            _descend(item, f"{key}.{number}", typed)
    elif isinstance(value, dict) and "_target_" in value:
        try:
            _visit(value, resolve_target(value["_target_"]), f"{key}.", typed)
        except ConfigError:
            return  # the check names it
    elif isinstance(value, dict):
        for name, item in value.items():
            _descend(item, f"{key}.{name}", typed)


def _as_text(value: Any, annotation: Any, typed: str | None) -> Any:
    if isinstance(value, int | float):  # bool is an int
        return _text(value, typed) if wants_text(annotation) else value
    items = items_of(annotation)
    if items is inspect.Parameter.empty:
        return value
    if isinstance(value, list):
        written = (typed or "").strip("[] ").split(",")
        parts: list[str | None] = [*written] if len(written) == len(value) else [None] * len(value)
        return [_as_text(item, items, part and part.strip()) for item, part in zip(value, parts, strict=True)]
    if isinstance(value, dict) and "_target_" not in value:
        return {name: _as_text(item, items, None) for name, item in value.items()}
    return value


def _text(value: int | float | bool, typed: str | None) -> Any:
    if typed is not None and _is_number(typed, value):
        return typed
    return str(value) if type(value) is int else value


def _is_number(typed: str, value: int | float | bool) -> bool:
    """Whether the text parses to this value."""
    if isinstance(value, bool):
        return typed.lower() == str(value).lower()
    try:
        read = float(typed) if isinstance(value, float) else int(typed)
    except ValueError:
        return False
    return read == value or read != read  # NaN equals nothing
