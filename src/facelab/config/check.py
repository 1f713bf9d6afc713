"""Check a composed config against the signatures of the targets it names.

The signature is the schema: every node with a `_target_` is compared with the signature of its constructor, before
anything is built. All problems are reported at once.
"""

import functools
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from facelab.config.build import nearest, resolve_target
from facelab.config.command_line import quoted
from facelab.config.foreign import foreign_hint
from facelab.config.signatures import annotation_of, items_of, known_later, parameters_of, refused_by_slot, wants_text
from facelab.config.texts import with_texts
from facelab.errors import ConfigError

_NODE_KEYS = frozenset({"_target_", "_partial_"})
_OF_OBJECTS = frozenset({"needs_python_object", "is_instance_of"})  # pydantic's errors on classes


@dataclass(frozen=True)
class Problem:
    """One problem in a config: its full key, and a message with the fix."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


def plain(config: DictConfig) -> dict[str, Any]:
    """Convert the config to plain dicts and lists with all interpolations resolved.

    Raises:
        ConfigError: a key has no value (`???`) or its interpolation fails; names every such key.
    """
    problems = [*_resolvers(OmegaConf.to_container(config, resolve=False), ""), *_unresolved(config, "")]
    if problems:
        raise ConfigError(_report(problems))
    return typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def _resolvers(node: Any, prefix: str) -> Iterator[Problem]:
    """Find interpolations that call a resolver, such as `${oc.env:NAME}`, and so read values outside the config."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _resolvers(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, str) and (found := re.search(r"\$\{\s*([\w.]+)\s*:", node)):
        yield Problem(
            prefix,
            f"${{{found[1]}:...}} is not resolved in a config, since it would read the environment into what is "
            "recorded. Give the value on the command line, where the shell knows it: "
            f'{prefix}="$NAME".',
        )


def _unresolved(node: DictConfig | ListConfig, prefix: str) -> Iterator[Problem]:
    keys: Sequence[Any] = list(node.keys()) if isinstance(node, DictConfig) else range(len(node))
    for key in keys:
        path = f"{prefix}{key}"
        try:
            if OmegaConf.is_missing(node, key):
                yield Problem(path, f"has no value yet. Give it on the command line: {path}=<value>.")
                continue
            value = node[key]
        except OmegaConfBaseException as error:
            problem = str(error).splitlines()[0]
            yield Problem(path, f"{problem}. ${{...}} stands for another key; as text it is written \\${{...}}.")
            continue
        if isinstance(value, DictConfig | ListConfig):
            yield from _unresolved(value, f"{path}.")


def check(
    config: Mapping[str, Any],
    task: Callable[..., Any],
    overlays: Sequence[str] = (),
    typed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Check a config against the signature of its task and of the constructors it names.

    Args:
        config: plain dicts and lists, as `plain` returns them.
        task: the function whose arguments are the config's root keys.
        overlays: experiments to suggest for an unknown root key, such as `few_shot=sweep`.
        typed: values as typed on the command line, by key.

    Returns:
        The config, with numbers converted to text where the annotation is text.

    Raises:
        ConfigError: the config has problems; lists all of them.
    """
    walk = _Walk(typed or {})
    found = with_texts(config, task, walk.typed)
    walk.check_arguments(task, found, key="", partial=False, overlays=overlays)
    if walk.problems:
        raise ConfigError(_report(walk.problems))
    return found


def check_node(node: Mapping[str, Any], key: str) -> None:
    """Check one `_target_` node against the signature of its constructor.

    Args:
        node: plain dicts and lists.
        key: of the node in the config.

    Raises:
        ConfigError: the node has problems; lists all of them.
    """
    walk = _Walk()
    walk.check_node(dict(node), key)
    if walk.problems:
        raise ConfigError(_report(walk.problems))


class _Unknown:
    """Stand-in for a value whose type is unknown before it is built."""


@dataclass
class _Walk:
    """One pass over a config; collects problems."""

    typed: Mapping[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def check_arguments(
        self,
        target: Callable[..., Any],
        values: dict[str, Any],
        key: str,
        partial: bool,
        overlays: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Check values against the target's parameters; returns the values with their nodes replaced by stand-ins."""
        parameters = parameters_of(target)
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        names = [n for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and n != "self"]
        later = {name for name in names if partial and known_later(target, parameters[name])}
        checked = {}
        for name, value in values.items():
            path = f"{key}.{name}" if key else name
            stand_in = self.check_value(value, path)
            if name in later and target.__module__.startswith("facelab."):
                self.problems.append(Problem(path, "facelab sets this argument itself. Remove it."))
            elif name in names:
                checked[name] = stand_in
                self.check_type(target, parameters[name], value, stand_in, path)
            elif not open_ended:
                candidates = [*names, *(overlay.split("=")[0] for overlay in overlays)]
                listed = f"{key or 'facelab'} takes: {', '.join(n for n in names if n not in later) or 'nothing'}."
                if overlays:
                    listed += f" Experiments are added as +folder=file: {', '.join('+' + o for o in overlays)}."
                self.problems.append(
                    Problem(path, f"unknown key.{foreign_hint(name) or nearest(name, candidates)} {listed}")
                )
        for name in names:
            required = parameters[name].default is inspect.Parameter.empty
            if required and name not in values and name not in later:
                self.problems.append(Problem(f"{key}.{name}" if key else name, "is required and missing."))
        return checked

    def check_value(self, value: Any, key: str) -> Any:
        """Check the nodes nested in a value; returns it with every `_target_` node replaced by a stand-in."""
        if isinstance(value, list):
            return [self.check_value(item, f"{key}.{i}") for i, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if "_target_" not in value:
            return {name: self.check_value(item, f"{key}.{name}") for name, item in value.items()}
        return self.check_node(value, key)

    def check_node(self, node: dict[str, Any], key: str) -> Any:
        """Check one `_target_` node; returns a stand-in of the type it will have."""
        try:
            target = resolve_target(node["_target_"])
        except ConfigError as error:
            self.problems.append(Problem(f"{key}._target_", str(error)))
            return _Unknown()
        partial = node.get("_partial_", False)
        if not isinstance(partial, bool):
            self.problems.append(Problem(f"{key}._partial_", f"expected true or false, got {partial!r}."))
        values = {name: value for name, value in node.items() if name not in _NODE_KEYS}
        for name in [name for name in values if name.startswith("_")]:
            self.problems.append(
                Problem(f"{key}.{name}", "unknown key. Beside arguments, a node has _target_ and _partial_.")
            )
            del values[name]
        before = len(self.problems)
        checked = self.check_arguments(target, values, key, bool(partial))
        if target.__module__.startswith("albumentations."):
            # These classes accept any argument and only warn, so build them in strict mode.
            return self.check_transform(target, checked, key) if len(self.problems) == before else _Unknown()
        if partial:
            return functools.partial(target)
        if inspect.isclass(target):
            try:
                return target.__new__(target)
            except TypeError:
                return _Unknown()
        return _Unknown()

    def check_transform(self, target: Callable[..., Any], values: dict[str, Any], key: str) -> Any:
        """Build an albumentations transform in strict mode, and collect its errors."""
        try:
            return target(**values, strict=True)
        except (ValueError, TypeError) as error:
            if isinstance(error.__cause__, ValidationError):
                for detail in error.__cause__.errors():
                    path = ".".join([key, *(str(part) for part in detail["loc"])])
                    self.problems.append(Problem(path, f"{_expected(detail['msg'])}, got {detail['input']!r}."))
            else:
                self.problems.append(Problem(key, " ".join(str(error).split())))
        return _Unknown()

    def check_type(
        self, target: Callable[..., Any], parameter: inspect.Parameter, raw: Any, value: Any, key: str
    ) -> None:
        """Check one value against its parameter's annotation with pydantic."""
        annotation = annotation_of(target, parameter)
        if isinstance(value, functools.partial) and (refusal := refused_by_slot(annotation, value.func)):
            self.problems.append(Problem(key, f"{refusal}, got {_shown(raw)}."))
            return
        if annotation is inspect.Parameter.empty or _contains(value, _Unknown):
            return
        # pydantic would take a dict for a dataclass, and has no words for the other classes.
        items = items_of(annotation)
        if _is_ours(items) and isinstance(value, dict):
            for name, item in value.items():
                self.check_class(items, raw[name], item, f"{key}.{name}")
            return
        if _is_ours(annotation):
            self.check_class(annotation, raw, value, key)
            return
        try:
            adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
        except (PydanticUserError, TypeError, NameError):
            return  # an annotation pydantic has no schema for
        try:
            if raw is value or value == raw:
                # JSON mode: the only strict one that takes a list for a tuple, yet not "3" for 3.
                adapter.validate_json(json.dumps(raw), strict=True)
            else:
                adapter.validate_python(value)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            # A union of a number and a class has a detail on each; only of the class has a config no value.
            for detail in [one for one in details if one["type"] not in _OF_OBJECTS] or details[:1]:
                inner = ".".join(str(part) for part in detail["loc"] if isinstance(part, int))
                path = f"{key}.{inner}" if inner else key
                advice = self._as_text(key, raw) if wants_text(annotation) else ""
                expected = _expected(detail["msg"])
                if detail["type"] in _OF_OBJECTS:
                    expected = f"expected {inspect.formatannotation(annotation)}, which a config cannot hold"
                self.problems.append(Problem(path, f"{expected}, got {_shown(raw)}.{advice}"))

    def check_class(self, wanted: type, raw: Any, value: Any, key: str) -> None:
        """Check that a value is an instance of a class of facelab."""
        if not isinstance(value, wanted):
            self.problems.append(Problem(key, f"expected a {wanted.__name__}, got {_shown(raw)}."))

    def _as_text(self, key: str, raw: Any) -> str:
        """Explain how to quote a value that must be text but was parsed as another type."""
        if key in self.typed:
            return f" As text: {quoted(key, self.typed[key])}"
        return " Text in a YAML file is put in quotes." if isinstance(raw, int | float | str) else ""


def _is_ours(annotation: Any) -> bool:
    return inspect.isclass(annotation) and annotation.__module__.startswith("facelab.")


def _shown(raw: Any) -> str:
    if isinstance(raw, dict) and "_target_" in raw:
        return f"{raw['_target_']}{' (_partial_)' if raw.get('_partial_') else ''}"
    return f"{raw!r} ({type(raw).__name__})"


def _expected(message: str) -> str:
    """Shorten a message of pydantic."""
    return message.replace("Input should be", "expected")


def _contains(value: Any, kind: type) -> bool:
    if isinstance(value, dict):
        return any(_contains(item, kind) for item in value.values())
    if isinstance(value, list):
        return any(_contains(item, kind) for item in value)
    return isinstance(value, kind)


def _report(problems: Sequence[Problem]) -> str:
    unique = list(dict.fromkeys(str(problem) for problem in problems))
    if len(unique) == 1:
        return unique[0]
    return f"{len(unique)} problems in the config:\n" + "\n".join(f"  - {problem}" for problem in unique)
