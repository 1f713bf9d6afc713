"""From what is asked for on a command line to checked configs, and from what goes wrong on the way to advice.

Nothing heavy is imported here: `--help` and `--cfg job` answer at once.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facelab.errors import ConfigError

if TYPE_CHECKING:
    from facelab.needs import Need


def config_folder() -> Path:
    """Where `conf/` lies: in the installed package, or in the checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def check_training(composed: DictConfig) -> dict[str, Any]:
    """Check a composed training config.

    Returns:
        The config as plain dicts and lists.

    Raises:
        ConfigError: with everything that is wrong.
    """
    from facelab import run
    from facelab.config import check, plain

    job = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    config = plain(job)
    check(config, run.Experiment, overlays=overlays())
    return config


def choices_of(hydra_config: Any, config: Mapping[str, Any]) -> dict[str, str]:
    """Which file of each config group was chosen.

    Args:
        hydra_config: Hydra's own part of a composed config.
        config: the rest of it.
    """
    return {name: str(choice) for name, choice in hydra_config.runtime.choices.items() if name in config}


def needs_of(config: Mapping[str, Any], choices: Mapping[str, str]) -> "dict[str, Need]":
    """The runs whose models judge a generative one, composed and checked before anything is trained.

    Args:
        config: checked, of a run.
        choices: which file of each config group it has.

    Raises:
        ConfigError: a needed run's config is wrong, or it could not judge.
    """
    from facelab.config import resolve_target
    from facelab.judge import NEEDED
    from facelab.models.base import Generative
    from facelab.needs import Need

    target = resolve_target(config["model"]["_target_"])
    if not (isinstance(target, type) and issubclass(target, Generative)):
        return {}
    needs = {}
    for name in NEEDED:
        overrides = config["generation"][name]
        try:
            composed = compose("train", overrides, return_hydra_config=True)
            needed = check_training(composed)
        except (HydraException, OmegaConfBaseException) as error:
            explained = explain_composition(error, "train", overrides)
            raise ConfigError(f"generation.{name}: {explained}") from error
        except ConfigError as error:
            raise ConfigError(f"generation.{name}: {error}") from error
        _check_judge(name, needed)
        its_choices = choices_of(composed.hydra, needed)
        if name == "embedder":
            needed["data"], its_choices["data"] = config["data"], choices.get("data", "")
        else:
            needed["data"]["channels"] = config["data"]["channels"]
        # In an experiment of their own: they answer no question of the one that needs them.
        needed["tracking"] = {**config["tracking"], "experiment": f"{config['tracking']['experiment']} · needed"}
        needed["trainer"]["accelerator"] = config["trainer"]["accelerator"]
        needed["runtime"], needed["name"] = config["runtime"], name.replace("_", " ")
        needs[name] = Need(needed, its_choices)
    return needs


def _check_judge(name: str, needed: Mapping[str, Any]) -> None:
    """See that a needed run will be able to judge."""
    from facelab.config import resolve_target
    from facelab.data.faces import FaceNonFace
    from facelab.models.base import FaceModule, Generative

    model = cast(type[FaceModule], resolve_target(needed["model"]["_target_"]))
    data = cast(type, resolve_target(needed["data"]["_target_"]))
    if issubclass(model, Generative):
        raise ConfigError(
            f"generation.{name}: a generative model would need judges itself. Name model=cnn, for instance."
        )
    if name == "face_classifier" and model.classify is FaceModule.classify:
        raise ConfigError(
            f"generation.{name}: {model.__name__} has no head to classify with. Name model=cnn, for instance."
        )
    if name == "face_classifier" and not issubclass(data, FaceNonFace):
        raise ConfigError(f"generation.{name}: expected data=face_spoilt_face or face_nonface, got {data.__name__}.")


def explain_syntax(message: str) -> str:
    """Hydra's lexer says where it stumbled, not why."""
    return (
        f"{' '.join(message.split())}\nValues are written key=value. Hydra gives ~ , {{ }} [ ] ( ) = and spaces "
        "a meaning: write $HOME for ~, runs=[a,b] for lists, and quote the rest, as in 'data.root=\"a, b\"'."
    )


def explain_composition(error: Exception, config_name: str, arguments: Sequence[str]) -> str:
    """Name the nearest valid key or choice."""
    from facelab.config import nearest

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
        if not hint:  # the last part alone may be meant: batch_size for model.recipe.batch_size
            hint = nearest(key.rpartition(".")[2], list(by_last))
            for last, full in by_last.items():
                hint = hint.replace(f"'{last}'?", f"'{full}'?")
        return f"{key}: unknown key.{hint} `--cfg job` prints every key, `--help` every choice."
    return " ".join(text.split()) or type(error).__name__


def _known_keys(config_name: str, arguments: Sequence[str]) -> list[str]:
    """Every key of the config as composed with those arguments that compose."""
    from facelab.config import flatten

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
    """The choices of a config group."""
    folders = (config_folder() / group, Path.cwd() / "conf" / group)
    return sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.yaml")})


def overlays() -> list[str]:
    """The experiments, as they are added: `few_shot=sweep`."""
    roots = {config_folder().parent / "experiments", Path.cwd() / "experiments"}
    return sorted({f"{path.parent.name}={path.stem}" for root in roots for path in root.glob("*/*.yaml")})
