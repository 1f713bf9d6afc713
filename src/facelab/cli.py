"""The command line: `python train.py key=value ...`, and `facelab` with its commands.

Nothing heavy is imported here: `--help` and `--cfg job` answer at once.
"""

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import hydra
from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facelab.compose import (
    check_training,
    choices_of,
    config_folder,
    explain_composition,
    explain_syntax,
    needs_of,
)
from facelab.errors import ConfigError, FacelabError, Interrupted

USAGE = """facelab: train, track and compare face recognisers

  facelab train [key=value ...]     train a model (the same as python train.py); -m makes it a sweep
  facelab generate [key=value ...]  new faces from a trained GAN or variational autoencoder
  facelab compare [key=value ...]   a sweep, or any runs, as tables, intervals and pictures on one page
  facelab best [key=value ...]      the best run of a sweep
  facelab runs [key=value ...]      a table of the runs; closes those whose process died
  facelab sync [key=value ...]      deliver what was recorded while the tracking store was away
  facelab ui [key=value ...]        MLflow's page on the runs made in this folder

Every command takes --help, which lists its choices, and --cfg job, which prints its config.
"""


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


def _train_task(composed: DictConfig) -> None:
    from facelab import run

    if composed.get("resume") is not None:
        now, default = (OmegaConf.to_container(config) for config in (composed, compose("train")))
        run.resume(
            str(composed.resume),
            cast(dict[str, Any], now),
            cast(dict[str, Any], default),
            lambda config: needs_of(config, {}),
        )
        return
    config = check_training(composed)
    _refuse_what_is_for_sweeps(config)
    choices = choices_of(HydraConfig.get(), config)
    run.train(config, choices, needs_of(config, choices))


def _refuse_what_is_for_sweeps(config: Mapping[str, Any]) -> None:
    """A single run would ignore it without a word."""
    default = OmegaConf.to_container(compose("train"))
    for key in ("search", "executor", "sweep"):
        if config.get(key) != cast(dict[str, Any], default).get(key):
            raise ConfigError(f"{key}: this is for sweeps. Add -m in front, as in: python train.py -m {key}...")


def sweep(config: DictConfig, loader: ConfigLoader, overrides: Sequence[str]) -> int:
    """Run a sweep: the overrides' combinations, or a search among them.

    Args:
        config: Hydra's, of the sweep itself.
        loader: composes the config of a job.
        overrides: of the experiment and the command line, in this order.

    Returns:
        Exit status, as for `main`.

    Raises:
        FacelabError: something the user can mend; no job has been started if it shows before.
    """
    from facelab.sweep.controller import run_sweep
    from facelab.sweep.plan import Job, Plan, axis_name, divide

    def job(chosen: Sequence[str], point: Mapping[str, str]) -> Job:
        composed = loader.load_sweep_config(config, [*chosen])
        checked = check_training(composed)
        choices = choices_of(composed.hydra, checked)
        return Job(point, checked, choices, needs_of(checked, choices))

    axes, fixed = divide(OverridesParser.create(config_loader=loader).parse_overrides([*overrides]))
    if any(axis_name(override) == "resume" for override in (*axes, *fixed)):
        raise ConfigError("resume: it goes on with one run; leave out -m. A sweep goes on by its own command.")
    base = check_training(loader.load_sweep_config(config, [override.input_line or "" for override in fixed]))
    command = " ".join(["python train.py", *(shlex.quote(argument) for argument in sys.argv[1:])])
    return run_sweep(Plan(axes, fixed, command, job, searching=base.get("search") is not None), base)


def _generate_task(composed: DictConfig) -> None:
    from facelab.generate import Generation, generate

    generate(_checked(composed, Generation))


def _compare_task(composed: DictConfig) -> None:
    from facelab.compare.commands import Comparison, compare

    compare(_checked(composed, Comparison))


def _best_task(composed: DictConfig) -> None:
    from facelab.compare.commands import Best, best

    best(_checked(composed, Best))


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


_TASKS = {
    "train": _train_task,
    "generate": _generate_task,
    "compare": _compare_task,
    "best": _best_task,
    "runs": _runs_task,
    "sync": _sync_task,
    "ui": _ui_task,
}


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
    except (KeyboardInterrupt, Interrupted):
        print("Interrupted.", file=sys.stderr)
        return 130
    except OverrideParseException as error:
        return _complain(explain_syntax(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        return _complain(explain_composition(error, config_name, arguments))
    except FacelabError as error:
        return _complain(str(error))
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    finally:
        sys.argv = before
    return 1 if failed else 0


def _complain(message: str) -> int:
    print(f"Error: {message}", file=sys.stderr)
    return 2
