"""The command line: `python train.py key=value ...`, and `facelab` with its commands.

Nothing heavy is imported here: `--help` and `--cfg job` answer at once.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facelab.errors import ConfigError, FacelabError

if TYPE_CHECKING:
    from facelab.needs import Need

USAGE = """facelab: train, track and compare face recognisers

  facelab train [key=value ...]     train a model (the same as python train.py); -m makes it a sweep
  facelab generate [key=value ...]  new faces from a trained GAN or variational autoencoder
  facelab runs [key=value ...]      a table of the runs; closes those whose process died
  facelab sync [key=value ...]      deliver what was recorded while the tracking store was away
  facelab ui [key=value ...]        MLflow's page on the runs made in this folder

Every command takes --help, which lists its choices, and --cfg job, which prints its config.
"""


def config_folder() -> Path:
    """Where `conf/` lies: in the installed package, or in the checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def main(arguments: Sequence[str] | None = None) -> int:
    """The `facelab` command.

    Args:
        arguments: without the program's name; the process's own by default.

    Returns:
        Exit status: 0 for success, 2 for a wrong command or config, 1 for all else that fails, 130 after Ctrl-C.
    """
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in _TASKS:
        return _run(command, _TASKS[command], rest)
    if command in ("--help", "-h", "help"):
        print(USAGE, end="")
        return 0
    print(f"facelab: there is no command '{command}'.\n\n{USAGE}", end="", file=sys.stderr)
    return 2


def train(arguments: Sequence[str] | None = None) -> int:
    """`python train.py`: compose, check, train. Arguments and exit status as for `main`."""
    return _run("train", _train_task, sys.argv[1:] if arguments is None else arguments)


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
    check(config, run.Experiment, overlays=_overlays())
    return config


def _train_task(composed: DictConfig) -> None:
    from facelab import run

    if composed.get("resume") is not None:
        now, default = (OmegaConf.to_container(config) for config in (composed, compose("train")))
        run.resume(str(composed.resume), cast(dict[str, Any], now), cast(dict[str, Any], default))
        return
    config = check_training(composed)
    choices = _choices(HydraConfig.get(), config)
    run.train(config, choices, _needs(config, choices))


def _choices(hydra_config: Any, config: Mapping[str, Any]) -> dict[str, str]:
    """Which file of each config group was chosen."""
    return {name: str(choice) for name, choice in hydra_config.runtime.choices.items() if name in config}


def _needs(config: Mapping[str, Any], choices: Mapping[str, str]) -> "dict[str, Need]":
    """The runs whose models judge a generative one, composed and checked before anything is trained."""
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
            explained = _explain_composition(error, "train", overrides)
            raise ConfigError(f"generation.{name}: {explained}") from error
        except ConfigError as error:
            raise ConfigError(f"generation.{name}: {error}") from error
        _check_judge(name, needed)
        its_choices = _choices(composed.hydra, needed)
        if name == "embedder":
            needed["data"], its_choices["data"] = config["data"], choices["data"]
        else:
            needed["data"]["channels"] = config["data"]["channels"]
        # In an experiment of their own: they answer no question of the one that needs them.
        needed["tracking"] = {**config["tracking"], "experiment": f"{config['tracking']['experiment']} · needed"}
        needed["trainer"]["accelerator"] = config["trainer"]["accelerator"]
        needed["runtime"], needed["name"] = config["runtime"], name.replace("_", " ")
        needs[name] = Need(needed, its_choices)
    return needs


def _generate_task(composed: DictConfig) -> None:
    from facelab.generate import Generation, generate

    generate(_checked(composed, Generation))


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


def _runs_task(composed: DictConfig) -> None:
    from facelab.runs import Overview, show_runs

    show_runs(_checked(composed, Overview))


def _sync_task(composed: DictConfig) -> None:
    from facelab.runs import Sync, sync

    sync(_checked(composed, Sync))


def _ui_task(composed: DictConfig) -> None:
    from facelab.ui import Page, serve

    serve(_checked(composed, Page))


def _checked(composed: DictConfig, root: Callable[..., Any]) -> dict[str, Any]:
    from facelab.config import check, plain

    config = plain(composed)
    check(config, root)
    return config


_TASKS = {"train": _train_task, "generate": _generate_task, "runs": _runs_task, "sync": _sync_task, "ui": _ui_task}


def _run(config_name: str, task: Callable[[DictConfig], None], arguments: Sequence[str]) -> int:
    """Run a task under Hydra, turning every error a user can mend into a message."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come out here, not as Hydra's shortened tracebacks
    folder = config_folder()
    failed = False

    def guarded(composed: DictConfig) -> None:
        """A job that fails says so at once, and a sweep goes on to the next; Hydra would tell at the very end."""
        nonlocal failed
        try:
            task(composed)
        except ConfigError as error:
            raise SystemExit(_complain(str(error))) from error
        except FacelabError as error:
            failed = True
            _complain(str(error))

    program = hydra.main(version_base="1.3", config_path=str(folder), config_name=config_name)(guarded)
    before = sys.argv
    sys.argv = [f"{config_name}.py", *arguments]
    try:
        program()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except OverrideParseException as error:
        return _complain(_explain_syntax(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        return _complain(_explain_composition(error, config_name, arguments))
    except ConfigError as error:
        return _complain(str(error))
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    finally:
        sys.argv = before
    return 1 if failed else 0


def _complain(message: str) -> int:
    print(f"Error: {message}", file=sys.stderr)
    return 2


def _explain_syntax(message: str) -> str:
    """Hydra's lexer says where it stumbled, not why."""
    return (
        f"{' '.join(message.split())}\nValues are written key=value. Hydra gives ~ , {{ }} [ ] ( ) = and spaces "
        "a meaning: write $HOME for ~, runs=[a,b] for lists, and quote the rest, as in 'data.root=\"a, b\"'."
    )


def _explain_composition(error: Exception, config_name: str, arguments: Sequence[str]) -> str:
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
        return f"+{group}={choice}: there is no such experiment. There are: {', '.join('+' + o for o in _overlays())}."
    unknown_key = re.search(r"Could not (?:override|append|delete)[^']*'([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    )
    if unknown_key:
        key = unknown_key.group(1).split("@")[0]
        keys = _known_keys(config_name, arguments)
        by_last = {known.rpartition(".")[2]: known for known in keys}
        hint = nearest(key, keys) or nearest(key.rpartition(".")[2], list(by_last))
        for last, full in by_last.items():
            hint = hint if f"'{full}'" in hint else hint.replace(f"'{last}'?", f"'{full}'?")
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


def _overlays() -> list[str]:
    """The experiments, as they are added: `few_shot=sweep`."""
    roots = {config_folder().parent / "experiments", Path.cwd() / "experiments"}
    return sorted({f"{path.parent.name}={path.stem}" for root in roots for path in root.glob("*/*.yaml")})
