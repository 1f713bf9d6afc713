"""Inspect the parameters and annotations of constructors and functions."""

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any


def parameters_of(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Parameters by name; empty if Python cannot determine the signature."""
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def annotation_of(target: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The parameter's annotation, evaluated if it is a string; `Parameter.empty` if evaluation fails."""
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    function = target.__init__ if inspect.isclass(target) else target
    names = {**vars(typing), **getattr(function, "__globals__", {})}
    try:
        return eval(parameter.annotation, names)  # the library's own source text, not the user's
    except (NameError, TypeError, SyntaxError, AttributeError):
        return inspect.Parameter.empty


def wants_text(annotation: Any) -> bool:
    """Whether an annotation accepts text but no number: `str`, `str | None`, `Annotated[str, ...]`."""
    members = set(_members(annotation))
    return str in members and not members & {int, float, bool, complex, Any}


def items_of(annotation: Any) -> Any:
    """Annotation of a sequence's items or a mapping's values; `Parameter.empty` if there is none."""
    for member in _members(annotation):
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if inspect.isclass(origin) and issubclass(origin, Collection) and arguments:
            if issubclass(origin, Mapping):
                return arguments[1]
            if issubclass(origin, Sequence | set | frozenset) and (len(arguments) == 1 or arguments[-1] is Ellipsis):
                return arguments[0]
    return inspect.Parameter.empty


def _members(annotation: Any) -> list[Any]:
    """The members of a union, without Annotated's metadata."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [member for argument in typing.get_args(annotation) for member in _members(argument)]
    return [annotation]


def refused_by_slot(annotation: Any, target: Callable[..., Any]) -> str | None:
    """Message if a slot of type `Callable[..., X]` does not accept the target; None if it does or a type is unknown."""
    members = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else ()
    for slot in members or (annotation,):
        if typing.get_origin(slot) is not Callable or len(typing.get_args(slot)) != 2:
            continue
        wanted = typing.get_origin(typing.get_args(slot)[1]) or typing.get_args(slot)[1]
        given = target if inspect.isclass(target) else _return_type(target)
        if not inspect.isclass(wanted) or not inspect.isclass(given) or issubclass(given, wanted):
            return None
        if inspect.isclass(target) and getattr(target, "forward", None) is not None and wanted.__name__ == "Tensor":
            return None  # a loss may be a module
        return f"expected something that gives a {wanted.__name__}"
    return None


def _return_type(function: Callable[..., Any]) -> Any:
    try:
        found = typing.get_type_hints(function).get("return")
    except (NameError, TypeError):
        return None
    return typing.get_origin(found) or found


def known_later(target: Callable[..., Any], parameter: inspect.Parameter) -> bool:
    """Whether the caller of a `_partial_` node, not the config, supplies an argument such as `image_shape` or `logits`.

    The config supplies arguments with a default, keyword-only ones, those with bounds, and components.
    """
    annotation = annotation_of(target, parameter)
    if parameter.default is not inspect.Parameter.empty or parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        return False
    return typing.get_origin(annotation) is not typing.Annotated and not _takes_component(annotation)


def _takes_component(annotation: Any) -> bool:
    """Whether an argument is built from a node: a `Callable[..., X]`, an object of facelab, or a list of these."""
    for member in _members(annotation):
        if typing.get_origin(member) is Callable and typing.get_args(member)[0] is Ellipsis:
            return True
        if inspect.isclass(member) and member.__module__.startswith("facelab."):
            return True
        items = items_of(member)
        if items is not inspect.Parameter.empty and _takes_component(items):
            return True
    return False
