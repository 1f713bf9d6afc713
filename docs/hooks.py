"""Pages that MkDocs makes at build time: the options of every choice and command, the Python reference, the studies."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml
from griffe import Docstring, DocstringSectionParameters, Parser
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from omegaconf import OmegaConf
from pydantic.fields import FieldInfo

import facelab.commands
from facelab.config.build import resolve_target
from facelab.config.compose import config_folder, options_of
from facelab.config.load import load_yaml
from facelab.config.signatures import annotation_of, known_later, parameters_of

ROOT = Path(__file__).parents[1]
# The config groups, each with a sentence.
GROUPS = {
    "data": "The face set: where the images are, their size, and which column is predicted.",
    "split": "Which images train, validate and test. [Your own faces](../data.md#splits) compares the rules.",
    "augment": "Random changes of the training images.",
    "model": "Network, loss, optimiser and length of training. "
    "[Networks and losses](../configuration.md#networks-and-losses) and [Families](../families.md) compare the models.",
    "synthetic": "Synthetic faces that are added to the training images: [Synthetic faces](../synthetic.md).",
    "trainer": "Hardware, precision, and how often a run validates.",
    "tracking": "The MLflow store that records runs.",
    "protocol": "How a trained model is evaluated; several as a list. [Protocols](../protocols.md) explains each.",
    "search": "How a search draws its trials: [Sweeps](../sweeps.md#searching).",
    "executor": "Where the runs of a sweep are executed.",
}
PACKAGES = ("data", "nets", "losses", "models", "synthetic", "metrics", "protocols", "training", "runs", "sweep")
_REQUIRED = "required"
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs: add the generated pages."""
    pages = {"options/index.md": commands_page()}
    pages |= {f"options/{group}.md": group_page(group) for group in GROUPS}
    pages |= {f"reference/{package}.md": reference_page(package) for package in PACKAGES}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for path in sorted((ROOT / "experiments").glob("*/*")):
        if path.name == "README.md" or path.suffix in (".png", ".svg", ".toml"):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        files.append(File.generated(config, name.lower(), abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Called by MkDocs: links between docs/ and the folders beside it, as they are on the site."""
    if page.file.src_uri.startswith("experiments/"):
        return markdown.replace("](../../docs/", "](../../")
    if page.file.src_uri in ("changelog.md", "contributing.md"):
        return markdown.replace("](docs/", "](").replace("](CHANGELOG.md", "](changelog.md")
    return markdown.replace("](../experiments/", "](experiments/").replace("](../CONTRIBUTING.md", "](contributing.md")


@dataclasses.dataclass(frozen=True)
class Option:
    """A line of a table of options.

    Args:
        key: as typed on the command line.
        value: in the file, as YAML; a constructor's default where the file does not list the key.
        type: which values are accepted, in words.
        meaning: from the docstring.
    """

    key: str
    value: str
    type: str
    meaning: str


def commands_page() -> str:
    """The keys of every command, and of a run besides its groups."""
    parts = [
        "# Commands and their keys",
        "Made from `conf/` and the signatures of the code. `facelab <command> --help` prints the same.",
    ]
    for name, root in command_roots().items():
        parts += [f"## facelab {name}", _table(command_options(name, root))]
    return "\n\n".join(parts) + "\n"


def group_page(group: str) -> str:
    """Every choice of a config group with its target and options."""
    parts = [f"# {group}", GROUPS[group]]
    parts.append("A key with `+` is not in the file: type it with the plus.")
    for choice in _own_choices(group):
        target, options = choice_options(group, choice)
        comment = _first_comment(config_folder() / group / f"{choice}.yaml")
        parts += [f"## {group}={choice}", *([comment] if comment else []), f"Builds {_link(target)}.", _table(options)]
    return "\n\n".join(parts) + "\n"


def reference_page(package: str) -> str:
    """The public names of a package, from their docstrings."""
    module = importlib.import_module(f"facelab.{package}")
    names = sorted(module.__all__, key=str.lower)
    summary = (inspect.getdoc(module) or "").partition("\n\n")[0]
    return "\n\n".join([f"# facelab.{package}", summary, *(f"::: facelab.{package}.{name}" for name in names)]) + "\n"


def command_roots() -> dict[str, type]:
    """The dataclass of each command's config, which its docstring names."""
    found = {}
    for entry in pkgutil.iter_modules(facelab.commands.__path__):
        module = importlib.import_module(f"facelab.commands.{entry.name}")
        for _, member in inspect.getmembers(module, inspect.isclass):
            named = re.match(r"The root of the `(\w+)` config", member.__doc__ or "")
            if named and member.__module__ == module.__name__:
                found[named[1]] = member
    return {name: found[name] for name in ["train", *sorted(set(found) - {"train"})]}


def command_options(name: str, root: type) -> list[Option]:
    """The options of a command; those of config groups are on pages of their own."""
    config = _composed(name)
    meanings, parameters = _meanings(root), parameters_of(root)
    found = []
    for key, value in config.items():
        if key in GROUPS:
            found.append(Option(str(key), "", f"[a choice]({key}.md)", meanings.get(str(key), GROUPS[str(key)])))
        elif isinstance(value, dict) and "_target_" in value:
            found += _node_options(str(key), value)
        else:
            parameter = parameters.get(str(key))
            words = type_words(annotation_of(root, parameter)) if parameter else ""
            found.append(Option(str(key), _written(value), words, meanings.get(str(key), "")))
    return [*_left_open(name, set(config)), *found]


def _left_open(name: str, composed: Collection[str]) -> Iterator[Option]:
    """Groups in which a command chooses nothing by itself, such as `search`."""
    listed = load_yaml(config_folder() / f"{name}.yaml")["defaults"]
    for entry in listed:
        for group, choice in entry.items() if isinstance(entry, dict) else ():
            if group in GROUPS and group not in composed:
                yield Option(group, _written(choice), f"[a choice]({group}.md)", GROUPS[group])


def choice_options(group: str, choice: str) -> tuple[str, list[Option]]:
    """The target of a choice, and its options with those of every nested node."""
    config = _composed("train", f"{group}={'[' + choice + ']' if group == 'protocol' else choice}")
    node, key = config[group], group
    if group == "protocol":
        ((name, node),) = node.items()
        key = f"protocol.{name}"
    return node["_target_"], [option for option in _node_options(key, node) if option.key != key]


def _node_options(key: str, node: Mapping[str, Any]) -> Iterator[Option]:
    """The node itself, then its arguments, then those that only the constructor knows."""
    target = resolve_target(node["_target_"])
    ours = target.__module__.startswith("facelab.")
    meanings, parameters = _meanings(target), parameters_of(target)
    yield Option(key, _link(node["_target_"]), "", _summary(target) if ours else "")
    for name, value in node.items():
        if name in ("_target_", "_partial_"):
            continue
        meaning = meanings.get(name, "") if ours else _first_sentence(meanings.get(name, ""))
        words = type_words(annotation_of(target, parameters[name])) if name in parameters else ""
        if isinstance(value, dict) and "_target_" in value:
            first, *inner = _node_options(f"{key}.{name}", value)
            yield dataclasses.replace(first, type=words, meaning=meaning or first.meaning)
            yield from inner
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                yield from _node_options(f"{key}.{name}.{number}", item)
        else:
            yield Option(f"{key}.{name}", _written(value), words, meaning)
    for name, parameter in parameters.items() if ours else ():
        if name in node or parameter.default is inspect.Parameter.empty or known_later(target, parameter):
            continue
        words = type_words(annotation_of(target, parameter))
        yield Option(f"+{key}.{name}", _written(parameter.default), words, meanings.get(name, ""))


def type_words(annotation: Any) -> str:
    """An annotation in words, such as `int, at least 1` or `error, drop or train`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is inspect.Parameter.empty:
        return ""
    if annotation is type(None):
        return "null"
    if origin is Annotated:
        return ", ".join([type_words(arguments[0]), *_bounds(arguments[1:])])
    if origin is Literal:
        return _either([f"`{_written(value)}`" for value in arguments])
    if origin in (typing.Union, types.UnionType):  # a Tensor cannot be typed
        return _either([type_words(argument) for argument in arguments if argument is not torch.Tensor])
    if origin is Callable:
        return f"a component that makes: {type_words(arguments[1])}" if len(arguments) == 2 else "a component"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"names with {type_words(arguments[1])} each"
    if inspect.isclass(origin) and issubclass(origin, tuple) and arguments[-1] is not Ellipsis:
        return f"list of {len(arguments)}: {', '.join(map(type_words, arguments))}"
    if inspect.isclass(origin) and issubclass(origin, Collection) and arguments:
        return f"list of {type_words(arguments[0])}"
    if annotation is str:
        return "text"
    return getattr(annotation, "__name__", str(annotation))


def _either(words: list[str]) -> str:
    flat = list(dict.fromkeys(words))
    return flat[0] if len(flat) == 1 else f"{', '.join(flat[:-1])}{',' if ', ' in flat[-2] else ''} or {flat[-1]}"


def _bounds(metadata: Collection[Any]) -> Iterator[str]:
    """The limits that pydantic checks, such as `at least 1`."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _bounds(item.metadata)
        for name, words in _BOUNDS.items():
            if getattr(item, name, None) is not None:
                yield f"{words} {getattr(item, name):,}"


def _meanings(target: Callable[..., Any]) -> dict[str, str]:
    """What the docstrings of a class and its bases say about each argument."""
    found: dict[str, str] = {}
    for owner in reversed(inspect.getmro(target)) if inspect.isclass(target) else (target,):
        text = inspect.cleandoc(owner.__doc__ or "")
        for section in Docstring(text, parser=Parser.google).parse(warnings=False):
            if isinstance(section, DocstringSectionParameters):
                found |= {argument.name: " ".join(argument.description.split()) for argument in section.value}
    return found


def _first_sentence(text: str) -> str:
    """Of another library's explanation, whose paragraphs are too long for a table."""
    found = re.match(r".*?[.](?= [A-Z]|$)", text)
    return found[0] if found else text


def _summary(target: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(target) or "").partition("\n\n")[0].split())


def _composed(name: str, *overrides: str) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose(name, [*overrides])
    found = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _own_choices(group: str) -> list[str]:
    return [name for name in options_of(group) if (config_folder() / group / f"{name}.yaml").is_file()]


def _first_comment(path: Path) -> str:
    """The comment above the first key of a YAML file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    length = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.removeprefix("#").strip() for line in lines[:length])


def _written(value: object) -> str:
    """A value as it is typed."""
    if value == "???":
        return _REQUIRED
    if isinstance(value, str):
        return value
    return (
        yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False).strip().removesuffix("...").strip()
    )


def _link(target: str) -> str:
    package, _, name = target.removeprefix("facelab.").partition(".")
    is_documented = target.startswith("facelab.") and package in PACKAGES
    return f"[{_key(target)}][facelab.{package}.{name}]" if is_documented else _key(target)


def _key(text: str) -> str:
    """Code that is not broken into lines; docs/site.css knows the class."""
    return f"`{text}`{{ .key }}"


def _table(options: Collection[Option]) -> str:
    if not options:
        return "It has no options."
    lines = ["| key | value | type | meaning |", "|---|---|---|---|"]
    for option in options:
        plain = option.value in ("", _REQUIRED) or option.value.startswith(("[`", "`"))
        value = option.value if plain else f"`{option.value}`"
        cells = (_key(option.key), value, option.type, option.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
