"""Locate and compose configs, and explain Hydra's errors.

This module avoids slow imports, so that `--help` and `--cfg job` respond immediately.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facelab.config.build import nearest
from facelab.config.foreign import foreign_hint
from facelab.config.identity import flatten
from facelab.config.load import load_yaml
from facelab.errors import ConfigError


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


def explain_composition(error: Exception, config_name: str, arguments: Sequence[str]) -> str:
    """Explain why a command line does not compose, with the nearest valid key or choice.

    Args:
        error: of Hydra or OmegaConf.
        config_name: of the command.
        arguments: of the command line.
    """
    text = str(error)
    unknown_choice = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if unknown_choice:
        return _explain_choice(*unknown_choice.groups())
    unknown_key = re.search(r"Could not (?:override|append|delete)[^']*'([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    )
    if existing_key := re.search(r"An item is already at '([^']+)'", text):
        return f"{existing_key[1]}: this key exists. Leave out the +: {existing_key[1]}=<value>."
    if unknown_key:
        return _explain_key(unknown_key.group(1).split("@")[0], config_name, arguments)
    return " ".join(text.split()) or type(error).__name__


def _explain_choice(group: str, choice: str) -> str:
    from facelab.config.command_line import refuse_hydra_group

    try:
        refuse_hydra_group(group)
    except ConfigError as error:
        return str(error)
    options = options_of(group)
    if options:
        listed = ", ".join(options)
        return f"{group}={choice}: there is no such choice.{nearest(choice, options)} {group} is one of: {listed}."
    return f"+{group}={choice}: there is no such experiment. There are: {', '.join('+' + o for o in overlays())}."


def _explain_key(key: str, config_name: str, arguments: Sequence[str]) -> str:
    experiments = [f"+{overlay}" for overlay in overlays() if overlay.partition("=")[0] == key]
    if experiments:
        return f"{key}: an experiment is added with +: {', '.join(experiments)}."
    config = _composed_part(config_name, arguments)
    keys = _keys_of(config)
    by_last = {known.rpartition(".")[2]: known for known in keys}
    last = key.rpartition(".")[2]
    hint = foreign_hint(key, keys) or nearest(key, [known for known in keys if not key.startswith(f"{known}.")])
    if not hint:  # try the last part: batch_size for model.recipe.batch_size
        similar = get_close_matches(last, list(by_last), n=1, cutoff=0.8)
        hint = f" Did you mean '{by_last[similar[0]]}'?" if similar else ""
    node = key.rpartition(".")[0]
    while node and node not in keys:
        node = node.rpartition(".")[0]
    inside = [known for known in keys if known.rpartition(".")[0] == node]
    target = flatten(config).get(f"{node}._target_")
    name = f"{node} is {target} and" if target else node
    listed = f" {name} has {', '.join(known.rpartition('.')[2] for known in inside) or 'no keys'}." if node else ""
    having = _choices_with(key)
    listed += f" It is a key of {', '.join(having)}." if having else ""
    group = key.partition(".")[0]
    if having and any(one.startswith(f"{group}=") and "," in one for one in arguments):
        # Hydra composes a sweep without the swept values before it composes the jobs.
        listed += f" In a sweep over {group}, write ++{key}=<value>."
    return f"{key}: unknown key.{hint}{listed} `--cfg job` prints every key, `--help` every choice."


def _choices_with(key: str) -> list[str]:
    """Choices of the key's config group that define the key, such as `data=folder` for `data.root`."""
    group, _, rest = key.partition(".")
    return [f"{group}={name}" for name in options_of(group) if rest in _keys_of_choice(group, name)]


def _keys_of_choice(group: str, choice: str) -> set[str]:
    """The keys of a choice and of those of its group that it inherits from; files that cannot be read have none."""
    keys: set[str] = set()
    names, folders = [choice], _folders(group)
    for name in names:
        for path in (folder / f"{name}.yaml" for folder in folders):
            try:
                config = load_yaml(path)
            except (ConfigError, OSError):
                continue
            inherited = [str(entry).partition("@")[0] for entry in config.pop("defaults", None) or []]
            names += [parent for parent in inherited if parent not in names]
            keys.update(_keys_of(config))
    return keys


def _composed_part(config_name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The config, composed with the valid ones of the arguments."""
    accepted: list[str] = []
    composed: Any = None
    before = get_gh_backup()  # of a search, which goes on after a trial that does not compose
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            for argument in ["", *(a for a in arguments if "=" in a and "," not in a)]:
                try:
                    composed = compose(config_name, [*accepted, argument] if argument else accepted)
                except (HydraException, OmegaConfBaseException):
                    continue
                accepted += [argument] if argument else []
    finally:
        restore_gh_from_backup(before)
    return cast(dict[str, Any], OmegaConf.to_container(composed, resolve=False)) if composed is not None else {}


def _keys_of(config: Mapping[str, Any]) -> list[str]:
    keys: set[str] = set()
    for key in flatten(config):
        parts = key.split(".")
        keys.update(".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return sorted(key for key in keys if not key.endswith(("_target_", "_partial_")))


def options_of(group: str) -> list[str]:
    """All choices of a config group."""
    return sorted({path.stem for folder in _folders(group) for path in folder.glob("*.yaml")})


def _folders(group: str) -> list[Path]:
    folders = (config_folder() / group, Path.cwd() / "conf" / group)
    return [folder for folder in folders if folder.is_dir()]


def overlays() -> list[str]:
    """All experiments, as typed after `+`, such as `few_shot=sweep`."""
    return sorted({f"{path.parent.name}={path.stem}" for root in _experiments() for path in root.glob("*/*.yaml")})


def experiment_folder(name: str, files: Sequence[str]) -> Path:
    """The folder of experiments/ with a name and all of some files in it.

    Raises:
        ConfigError: there is none, and names those that exist; or the first with one of the files lacks another.
    """
    for root in _experiments():
        missing = [file for file in files if not (name == Path(name).name and (root / name / file).is_file())]
        if name and not missing:
            return root / name
        if len(missing) < len(files):
            raise ConfigError(
                f"study={name}: {root / name} has {', '.join(set(files) - set(missing))} but no {', '.join(missing)}. "
                "Add it there, or give the folder another name."
            )
    known = sorted({path.parent.name for root in _experiments() for path in root.glob(f"*/{files[0]}")})
    raise ConfigError(
        f"study={name}: experiments/ has no such folder with {files[0]}. Known are: {', '.join(known) or 'none'}."
    )


def _experiments() -> list[Path]:
    """As in Hydra's search path: the folder one works in goes before facelab's own."""
    return list(dict.fromkeys([Path.cwd() / "experiments", config_folder().parent / "experiments"]))
