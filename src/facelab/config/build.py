"""Resolve and build the classes and functions that a config names."""

import difflib
import importlib
import inspect
import os
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from facelab.errors import ConfigError, FacelabError

ALLOWED_PACKAGES = ("facelab", "albumentations", "torch.nn", "torch.optim", "torchmetrics")
# From other packages than facelab, a config may name subclasses of these, and loss functions of torch.
_LIBRARY_BASES = frozenset(
    {
        "albumentations.core.transforms_interface.BasicTransform",
        "albumentations.core.composition.BaseCompose",
        "torch.nn.modules.module.Module",
        "torch.optim.optimizer.Optimizer",
    }
)
_LIBRARY_FUNCTIONS = "torch.nn.functional"


def allowed_packages() -> tuple[str, ...]:
    """Packages whose classes and functions a config may name; FACELAB_ALLOW=package,package adds to them."""
    extra = os.environ.get("FACELAB_ALLOW", "")
    return ALLOWED_PACKAGES + tuple(name.strip() for name in extra.split(",") if name.strip())


def nearest(name: str, choices: Sequence[str]) -> str:
    """Suggest a correction of a misspelt name: ` Did you mean 'x'?`, or an empty string."""
    found = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return f" Did you mean '{found[0]}'?" if found else ""


def resolve_target(target: object) -> Callable[..., Any]:
    """Import the class or plain function that a `_target_` names.

    Args:
        target: dotted path, such as `facelab.models.cnn.CNN`.

    Raises:
        ConfigError: it does not exist, is neither a class nor a function, or is not in an allowed package.
    """
    if not isinstance(target, str) or not target:
        raise ConfigError(f"_target_ must be the dotted path of a class or function, got {target!r}.")
    if not _is_allowed(target):  # checked before the import, since importing a module runs its code
        raise ConfigError(_refusal(target))
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
                continue
            raise ConfigError(f"importing '{module_name}' failed: {error}.") from error
        for depth, part in enumerate(parts[length:], start=length):
            if not hasattr(found, part):
                names = [name for name in dir(found) if not name.startswith("_")]
                where = ".".join(parts[:depth])
                raise ConfigError(f"'{where}' has no '{part}'.{nearest(part, names)}")
            found = getattr(found, part)
        if not (inspect.isclass(found) or inspect.isfunction(found)):
            raise ConfigError(f"'{target}' is neither a class nor a plain function.")
        # Check the object, not only the path: facelab.config.build.os.system would pass a check of the string.
        if not _is_allowed(f"{found.__module__}."):
            raise ConfigError(_refusal(f"{found.__module__}.{found.__qualname__}"))
        _refuse_helpers(target, found)
        return typing.cast(Callable[..., Any], found)
    raise ConfigError(f"there is no module '{parts[0]}'; is it installed?")


def _refuse_helpers(target: str, found: Any) -> None:
    """Refuse functions and classes that are not components, since some write files or call their arguments."""
    package, _, name = target.rpartition(".")
    if found.__module__.split(".")[0] == "facelab":
        exported = getattr(sys.modules.get(package), "__all__", ())
        if name not in exported or package.count(".") != 1:
            raise ConfigError(
                f"'{target}' is not a public name of facelab. Public are those that a package exports, such as "
                f"facelab.models.CNN.{nearest(name, list(exported))}"
            )
        return
    if any(f"{found.__module__}.".startswith(f"{extra}.") for extra in allowed_packages()[len(ALLOWED_PACKAGES) :]):
        return
    if inspect.isclass(found):
        if any(f"{base.__module__}.{base.__qualname__}" in _LIBRARY_BASES for base in found.__mro__):
            return
    elif found.__module__ == _LIBRARY_FUNCTIONS:
        return
    raise ConfigError(
        f"'{target}' cannot be built from a config: expected a module, an optimiser, a transform, or a function of "
        f"{_LIBRARY_FUNCTIONS}. If you trust it, set FACELAB_ALLOW=<package> in the environment."
    )


def _is_allowed(path: str) -> bool:
    return any(path.startswith(package + ".") for package in allowed_packages())


def _refusal(path: str) -> str:
    return (
        f"'{path}' is outside the allowed packages ({', '.join(allowed_packages())}). "
        "If you trust it, set FACELAB_ALLOW=<package> in the environment."
    )


def build(config: Mapping[str, Any]) -> dict[str, Any]:
    """Build every root value of a config. All targets are resolved and checked before any is called.

    Raises:
        ConfigError: a target is not allowed, or a constructor refused its arguments.
    """
    _resolve_all(config)
    built = {}
    for key, value in config.items():
        if not isinstance(value, dict | list):
            built[key] = value
            continue
        try:
            built[key] = instantiate(value, _convert_="all") if isinstance(value, dict) else value
        except InstantiationException as error:
            cause = error.__cause__
            if isinstance(cause, FacelabError):
                raise cause from None
            where = str(error).rpartition("full_key: ")[2].strip() if "full_key: " in str(error) else ""
            raise ConfigError(f"{key}{'.' + where if where else ''}: {cause or error}") from error
    return built


def _resolve_all(node: Any) -> None:
    """Resolve all targets of a config, since one from a run's folder or a store may not have passed `check`."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            resolve_target(node["_target_"])
        refused = [key for key in ("_args_", "_convert_", "_recursive_") if key in node]
        if refused:
            raise ConfigError(f"{refused[0]} is not taken in a config.")
    for value in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        _resolve_all(value)


def configured(key: str, make: Callable[[], Any]) -> Any:
    """Call `make`, which completes a `_partial_` target, and report its errors under the config key.

    Raises:
        ConfigError: `make` raised ValueError or TypeError.
    """
    try:
        return make()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key}: {error}") from error
