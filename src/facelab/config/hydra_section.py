"""Restrict the keys that a user's config may set in Hydra's own section."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facelab.config.compose import config_folder
from facelab.config.load import yaml_fault
from facelab.errors import ConfigError

_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
_SWEEPERS = (
    "hydra_plugins.facelab_sweeper.FacelabSweeper",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
)
_EMPTY: Mapping[str, Any] = {
    "callbacks": {},
    "job.env_set": {},
    "job.env_copy": [],
    "searchpath": [],
    "output_subdir": None,
    "job.chdir": False,
    "run.dir": ".",
    "sweep.dir": ".",
    "sweep.subdir": ".",
}


def refuse_foreign_hydra(config_name: str, arguments: Sequence[str]) -> None:
    """Check Hydra's section of the composed config before Hydra applies it.

    A config may set `hydra.mode` and `hydra.sweeper.params`. Callbacks, logging with class names, folders, environment
    variables, launchers, sweepers and search paths are fixed.

    Args:
        config_name: of the command.
        arguments: of the command line.

    Raises:
        ConfigError: a fixed key is changed; names the key and its fixed value.
    """
    if not _own_folders() and not any("hydra" in word for word in arguments):
        return  # facelab's own files change nothing
    overrides = [word for word in arguments if not word.startswith("-") and "=" in word and "," not in word]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            composed = compose(config_name, overrides, return_hydra_config=True)
            section = OmegaConf.masked_copy(composed, "hydra").hydra
    except (HydraException, OmegaConfBaseException):
        return  # Hydra itself reports errors of the command line
    except yaml.YAMLError as error:  # of facelab's own files: users' are read by FacelabConfigSource
        raise ConfigError(yaml_fault(error)) from error
    except (ValueError, TypeError, AttributeError) as error:  # a defaults list with null, numbers or dicts in it
        raise ConfigError(f"the config does not compose: {' '.join(str(error).split())}.{_own_files()}") from error
    finally:
        GlobalHydra.instance().clear()
    for key, expected in _EMPTY.items():
        found = OmegaConf.select(section, key, throw_on_missing=False)
        found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
        if (found or expected) != expected:
            raise ConfigError(_refusal(key, found, expected))
    _refuse_classes(section)


def _own_folders() -> list[str]:
    return [f"./{name}" for name in ("conf", "experiments") if Path.cwd().joinpath(name).is_dir()]


def _own_files() -> str:
    folders = _own_folders()
    return f" Look at the defaults lists of the files in {' and '.join(folders)}." if folders else ""


def _refuse_classes(section: DictConfig) -> None:
    for key, allowed in (("launcher._target_", (_LAUNCHER,)), ("sweeper._target_", _SWEEPERS)):
        found = OmegaConf.select(section, key)
        if found not in allowed:
            raise ConfigError(
                f"hydra.{key}={found}: facelab runs the jobs of a sweep itself. Leave it out; executor=local or "
                "executor=slurm says where they run, search=tpe and the like how they are drawn."
            )
    for name in ("job_logging", "hydra_logging"):
        for key in _class_names(OmegaConf.to_container(section[name]), f"hydra.{name}"):
            raise ConfigError(
                f"{key}: facelab's logging is fixed, and a config cannot name classes in it. Leave it out."
            )


_LOGGING_CLASSES = ("logging.StreamHandler", "logging.NullHandler")


def _class_names(node: Any, key: str) -> list[str]:
    """Keys of a logging config that name a class, a callable or a file."""
    if isinstance(node, list):
        return [found for number, value in enumerate(node) for found in _class_names(value, f"{key}.{number}")]
    if not isinstance(node, dict):
        return [key] if isinstance(node, str) and node.startswith(("ext://os", "ext://sub", "cfg://")) else []
    own = [
        f"{key}.{name}"
        for name, value in node.items()
        if name in ("()", "class", "filename") and value not in _LOGGING_CLASSES
    ]
    return own + [found for name, value in node.items() for found in _class_names(value, f"{key}.{name}")]


def _refusal(key: str, found: object, expected: object) -> str:
    return (
        f"hydra.{key}: it is fixed to {expected!r}, and a config sets it to {found!r}. Hydra would obey that before "
        "facelab has checked anything. Leave it out; a config may set hydra.mode and hydra.sweeper.params."
    )
