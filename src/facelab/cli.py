"""The command line: `python train.py key=value ...`, and `facelab` with its commands.

Heavy imports are deferred to keep `--help` and `--cfg job` fast.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from facelab.config.compose import config_folder, explain_composition, explain_syntax
from facelab.config.hydra_section import refuse_foreign_hydra
from facelab.errors import ConfigError, FacelabError, Interrupted
from facelab.system import print_anything

USAGE = """facelab: train, track and compare face recognisers

  facelab train [key=value ...]     train a model (the same as python train.py); -m makes it a sweep
  facelab generate [key=value ...]  new faces from a trained GAN or variational autoencoder
  facelab compare [key=value ...]   compare a sweep, or any runs: tables, intervals and images on one page
  facelab best [key=value ...]      the best run of a sweep
  facelab runs [key=value ...]      a table of the runs; closes those whose process died
  facelab sync [key=value ...]      deliver records kept while the tracking store was unreachable
  facelab ui [key=value ...]        MLflow's page of the runs in this folder

Every command takes --help, which lists its choices, and --cfg job, which prints its config.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The `facelab` command.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        Exit status: 0 on success, 2 for an invalid command or config, 1 for any other failure, 130 after Ctrl-C.
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
    """The program `train.py`: compose, check, train. Arguments and exit status as for `main`."""
    return _run("train", _train_task, sys.argv[1:] if arguments is None else arguments)


def _train_task(composed: DictConfig) -> None:
    from facelab.commands.train import train_task

    train_task(composed)


def _generate_task(composed: DictConfig) -> None:
    from facelab.commands.generate import Generation, generate

    generate(_checked(composed, Generation))


def _compare_task(composed: DictConfig) -> None:
    from facelab.commands.compare import Comparison, compare

    compare(_checked(composed, Comparison))


def _best_task(composed: DictConfig) -> None:
    from facelab.commands.compare import Best, best

    best(_checked(composed, Best))


def _runs_task(composed: DictConfig) -> None:
    from facelab.commands.runs import Overview, show_runs

    show_runs(_checked(composed, Overview))


def _sync_task(composed: DictConfig) -> None:
    from facelab.commands.runs import Sync, sync

    sync(_checked(composed, Sync))


def _ui_task(composed: DictConfig) -> None:
    from facelab.commands.ui import Page, serve

    serve(_checked(composed, Page))


def _checked(composed: DictConfig, root: Callable[..., Any]) -> dict[str, Any]:
    from facelab.config.check import check, plain

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
    """Run a task under Hydra, and print errors a user can fix as messages."""
    print_anything()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print shortened tracebacks instead of raising
    folder = config_folder()
    failed = False
    try:
        refuse_foreign_hydra(config_name, arguments)
    except ConfigError as error:
        return _complain(str(error))

    def guarded(composed: DictConfig) -> None:
        """Run the task and report its failure at once; Hydra would report it only at the end."""
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
