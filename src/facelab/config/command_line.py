"""Check the command line before Hydra parses it: options, config groups, and values outside Hydra's grammar."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Sweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facelab.config.compose import config_folder, options_of
from facelab.errors import ConfigError

_PLAIN_OPTIONS = ("--help", "-h", "--hydra-help", "--resolve", "--run", "-r", "--multirun", "-m")
_OPTIONS_WITH_VALUE = {"--cfg": "job, hydra, all", "--package": "a key", "--info": "all, config, defaults, searchpath"}
_SHORT = {"-c": "--cfg", "-p": "--package", "-i": "--info"}
_COMPLETION = ("-sc", "--shell-completion")
_FIXED_OPTIONS = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--experimental-rerun")
_HYDRA_GROUPS = {
    "launcher": "facelab runs the jobs of a sweep itself, each in a process of its own. Leave it out; executor=local "
    "or executor=slurm says where they run, sweep.jobs=<number> how many at a time.",
    "sweeper": "facelab sweeps and searches itself. Leave it out; search=tpe, search=random or search=cmaes draws "
    "values, search.trials=<number> says how many; without search, -m runs all combinations.",
}
RUNS_OWN = ("data", "split", "protocol")  # config groups that `facelab evaluate` takes from the run
_KEY = re.compile(r"[+~]*[\w./@:$-]+")  # with Hydra's marks for adding and deleting
_OTHER_HYDRA_GROUP = "facelab's own output and logging are fixed. Leave it out."


def check_arguments(program: str, arguments: Sequence[str]) -> list[str]:
    """Check that Hydra can parse a command line.

    Args:
        program: the command as the user types it, such as `facelab train`.
        arguments: of the command line.

    Returns:
        The arguments for Hydra, options first.

    Raises:
        ConfigError: a word is no text, an option is unknown or fixed, a word is not `key=value`, a config group is set
            to null, a key is both swept and fixed, or Hydra cannot parse a value; suggests the correct command.
    """
    _refuse_other_bytes(arguments)
    options, overrides = _divided(program, arguments)
    is_sweep = "-m" in options or "--multirun" in options
    if is_sweep and not program.endswith("train") and not program.endswith("train.py"):
        raise ConfigError(f"-m: only training makes sweeps; {program} runs once. Leave -m out.")
    if is_sweep and any(option.startswith(("--cfg", "--info")) for option in options):
        raise ConfigError("-m: a sweep has a config for each run. Leave out -m to print one with --cfg job.")
    if any(option in _COMPLETION for option in options):
        return options
    _refuse_unreadable(program, arguments, overrides)
    kept = []
    for word in overrides:
        override = _parsed(word)
        assert override is not None
        refuse_hydra_group(override.key_or_group)
        if not _is_unset(override):
            kept.append(word)
    if is_sweep:
        _refuse_swept_and_fixed(kept)
    return [*options, *(_as_changes(kept) if program == "facelab evaluate" else kept)]


def _refuse_other_bytes(arguments: Sequence[str]) -> None:
    """Refuse bytes that are not UTF-8: Python keeps them as halves of characters, which no config can hold."""
    for word in arguments:
        shown = word.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        if shown != word:
            raise ConfigError(
                f"{shown}: expected text in UTF-8, got bytes that are none (\\x and two digits). If they are of the "
                "name of a file or folder, rename that, and type the new name."
            )


def quoted(key: str, text: str) -> str:
    """Quote a `key=value` argument for Hydra and for the shell, so that facelab receives exactly this text.

    Args:
        key: with Hydra's `+`, if any.
        text: the intended value.
    """
    escaped = text.replace("${", "\\${")
    for quote in ("", '"', "'"):
        body = escaped
        if quote:  # a quote gets a backslash; backslashes before one, or at the end, are doubled
            body = re.sub(rf"(\\*){quote}", rf"\1\1\\{quote}", escaped)
            body = re.sub(r"(\\+)$", r"\1\1", body)
        override = f"{key}={quote}{body}{quote}"
        if _read_as(override) == text:
            return shlex.quote(override)
    return shlex.quote(f"{key}={text}")


def unambiguous(program: str, arguments: Sequence[str], word: str) -> str:
    """Explain the possible meanings of `key=a,b` and how to type each.

    Args:
        program: the command as the user types it.
        arguments: of the command line.
        word: the ambiguous argument.
    """
    key, _, value = word.partition("=")
    ways = [f"as one text:\n  {_command(program, arguments, {word: quoted(key, value)})}"]
    ways.append(f"as a list:\n  {_command(program, arguments, {word: shlex.quote(f'{key}=[{value}]')})}")
    if program.endswith("train") or program.endswith("train.py"):
        ways.insert(0, f"as a sweep, one run for each:\n  {_command(f'{program} -m', arguments, {})}")
    return f"{word}: the commas may separate several values. Write it\n" + "\n".join(ways)


def refuse_hydra_group(group: str) -> None:
    """Raise a ConfigError for one of Hydra's own config groups, with the facelab key to type instead."""
    name = group.split("@")[0]
    if name.startswith("hydra/"):
        raise ConfigError(f"{name}: {_HYDRA_GROUPS.get(name.removeprefix('hydra/'), _OTHER_HYDRA_GROUP)}")


def _as_changes(arguments: Sequence[str]) -> list[str]:
    """Let `data.root=...` change the data of a finished run: `+data.root=...`, unless `data=...` chooses another."""
    chosen = {word.partition("=")[0] for word in arguments}
    return [
        f"+{word}" if (group := word.partition(".")[0]) in RUNS_OWN and group not in chosen else word
        for word in arguments
    ]


def _divided(program: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into options, each with its value, and overrides."""
    options: list[str] = []
    overrides: list[str] = []
    words = [*arguments]
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if not word.startswith("-"):
            overrides.append(word)
        elif word in _PLAIN_OPTIONS or word in _COMPLETION:
            options.append(word)
            if word in _COMPLETION:
                return [word, _completion(program, words)], []
        elif name in _OPTIONS_WITH_VALUE:
            follows = bool(words) and "=" not in words[0] and not words[0].startswith(("-", "~"))
            given = value if equals else words.pop(0) if follows else ("all" if name == "--info" else "")
            choices = _OPTIONS_WITH_VALUE[name]
            if not given or (", " in choices and given not in [*choices.split(", "), "defaults-tree", "plugins"]):
                raise ConfigError(f"{word}: expected one of: {choices}." + (f" Got '{given}'." if given else ""))
            options.append(f"{name}={given}")
        else:
            raise ConfigError(_unknown_option(program, name, value or (words[0] if words else "")))
    return options, overrides


def _completion(program: str, words: Sequence[str]) -> str:
    """The subcommand of `-sc`, which Hydra only supports for `python train.py`."""
    action = next((word for word in words if word.partition("=")[0] in ("install", "uninstall", "query")), None)
    if action is None or "=" not in action or not program.endswith("train.py"):
        raise ConfigError(
            'shell completion is of train.py. In bash: eval "$(python train.py -sc install=bash)"; fish and zsh '
            "likewise; uninstall=<shell> takes it away."
        )
    return action


def _unknown_option(program: str, name: str, value: str) -> str:
    if name in _FIXED_OPTIONS:
        return (
            f"{name}: each command has its own config. Leave it out: files of ./conf/<group>/ are chosen with "
            "group=file, those of ./experiments/<folder>/ with +folder=file."
        )
    key = name.lstrip("-").replace("-", "_")
    known = ", ".join([*_PLAIN_OPTIONS, *_OPTIONS_WITH_VALUE])
    plain = shlex.quote(f"{key}={value or '...'}")
    meant = f" Keys are written without dashes, such as {plain}." if len(key) > 1 else ""
    return f"{name}: unknown option of {program}.{meant} Options are: {known}."


def _refuse_unreadable(program: str, arguments: Sequence[str], overrides: Sequence[str]) -> None:
    """Raise an error for words outside Hydra's grammar, with the complete corrected command."""
    for number, word in enumerate(overrides):
        key, equals, value = word.partition("=")
        is_key = _KEY.fullmatch(key) is not None
        if _parsed(word) is not None and is_key:
            continue
        wrong_call = _wrong_call(word)
        if wrong_call:
            raise ConfigError(f"{word}: {wrong_call}. See docs/sweeps.md for lists, ranges and intervals.")
        if not equals or not is_key:
            raise ConfigError(_stray(program, arguments, overrides, number))
        text = os.path.expanduser(value)  # noqa: PTH111 (pathlib raises for ~ of an unknown user)
        replaced = {
            other: quoted(*other.split("=", 1)) for other in overrides if "=" in other and _parsed(other) is None
        }
        replaced[word] = quoted(key, text)
        command = _command(program, arguments, replaced)
        home = " The shell does not replace ~ here; $HOME it does." if value.startswith("~") else ""
        lists = " Lists are written key=[a,b]." if value.startswith(("[", "{")) or value.endswith(("]", "}")) else ""
        raise ConfigError(
            f"{word}: Hydra gives some characters of it a meaning.{home}{lists} To give it as text, exactly as it "
            f"stands, write:\n  {command}"
        )


def _stray(program: str, arguments: Sequence[str], overrides: Sequence[str], number: int) -> str:
    """Explain a word that is not `key=value`: part of a path with spaces, or a value without its key."""
    word = overrides[number]
    if number and "=" in overrides[number - 1]:
        before = overrides[number - 1]
        joined = quoted(*f"{before} {word}".split("=", 1))
        words = [shlex.quote(argument) for argument in arguments]
        place = next(i for i, argument in enumerate(arguments) if argument == before)
        words[place : place + 2] = [joined]
        return f"{word}: expected key=value. If it belongs to '{before}', write:\n  {' '.join([program, *words])}"
    following = overrides[number + 1] if number + 1 < len(overrides) else "="
    example = f", such as {shlex.quote(f'{word}={following}')}" if "=" not in following else ""
    return f"{word or 'an empty word'}: expected key=value{example}. `{program} --help` lists the keys."


def _refuse_swept_and_fixed(overrides: Sequence[str]) -> None:
    """Raise an error for a key with several values and with one: the last would silently replace the other."""
    first: dict[str, tuple[str, bool]] = {}
    for word in overrides:
        override = _parsed(word)
        assert override is not None
        swept = override.is_sweep_override()
        before, was_swept = first.setdefault(override.get_key_element().lstrip("+"), (word, swept))
        if swept != was_swept:
            raise ConfigError(f"{before} and {word}: the key is swept and fixed in the same command. Remove one.")


def _command(program: str, arguments: Sequence[str], replaced: dict[str, str]) -> str:
    return " ".join([program, *(replaced.get(word) or shlex.quote(word) for word in arguments)])


def _is_unset(override: Override) -> bool:
    """Whether an optional config group is set to null: `search=null`.

    Raises:
        ConfigError: the group is not optional, or the choice is not a name.
    """
    group = override.key_or_group
    if override.is_delete() or group not in groups():
        return False
    value = override.value()
    chosen = list(getattr(value, "list", [value]))  # of a sweep, or the one value
    if group == "search" and chosen == [None]:
        return True
    wrong = [one for one in chosen if not isinstance(getattr(one, "text", one), str | list | Sweep) or one == ""]
    if wrong:
        shown = "null" if wrong[0] is None else str(wrong[0])
        raise ConfigError(f"{group}={shown}: {group} needs a choice, one of: {', '.join(options_of(group))}.")
    return False


def groups() -> list[str]:
    """The config groups: folders of `conf/`."""
    folders = (config_folder(), Path.cwd() / "conf")
    found = {entry.name for folder in folders if folder.is_dir() for entry in os.scandir(folder) if entry.is_dir()}
    return sorted(found - {"hydra"})


def _parsed(word: str) -> Override | None:
    try:
        override = OverridesParser.create().parse_overrides([word])[0]
        override.value()
    except HydraException:
        return None
    return override


def _wrong_call(word: str) -> str | None:
    """What is wrong with the arguments of a function of Hydra's, such as `range`; None if nothing is."""
    try:
        OverridesParser.create().parse_overrides([word])
    except HydraException as error:
        return str(error.__cause__) if isinstance(error.__cause__, ValueError | TypeError) else None
    return None


def _read_as(word: str) -> Any:
    """The value that Hydra parses from `key=value`; None if it is invalid or not a single value."""
    override = _parsed(word)
    if override is None or override.is_sweep_override() or override.is_delete():
        return None
    try:
        return OmegaConf.create({"value": override.value()}).value
    except (OmegaConfBaseException, ValueError):
        return None
