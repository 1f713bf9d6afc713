"""The command line: `python train.py key=value ...`, and `facelab` with its commands.

Heavy imports are deferred to keep `--help` and `--cfg job` fast.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import facelab
from facelab.commands.output import guarded_output
from facelab.config.build import nearest
from facelab.config.command_line import check_arguments, unambiguous
from facelab.config.compose import config_folder, explain_composition, overlays
from facelab.config.hydra_section import refuse_foreign_hydra
from facelab.errors import ConfigError, FacelabError, Interrupted
from facelab.system import print_anything, set_training_command, training_command, visible

USAGE = """facelab: train, track and compare face recognisers

  facelab train [key=value ...]     train a model (the same as python train.py); -m makes it a sweep
  facelab check [key=value ...]     look at the images of a data set before training, on one page
  facelab evaluate [key=value ...]  evaluate finished runs again, or on other faces
  facelab generate [key=value ...]  new faces from a trained generative model
  facelab demo [key=value ...]      try a trained model on a local page
  facelab export [key=value ...]    write a trained model as ONNX or as a file of torch.export
  facelab align [key=value ...]     find and align the faces in ordinary photos
  facelab enroll [key=value ...]    enrol people in a gallery, with the model of a finished run
  facelab identify [key=value ...]  say who of a gallery is in photos
  facelab gallery [key=value ...]   list, remove and rename the people of a gallery
  facelab compare [key=value ...]   compare a sweep, or any runs: tables, intervals and images on one page
  facelab best [key=value ...]      the best run of a sweep
  facelab runs [key=value ...]      a table of the runs; closes those whose process died
  facelab sync [key=value ...]      deliver records kept while the tracking store was unreachable
  facelab ui [key=value ...]        MLflow's page of the runs in this folder

Every command takes --help, which lists its choices, and --cfg job, which prints its config.
"""


# What people type for something that is written otherwise; the rest of the line follows.
_MEANT = {
    "resume": "train resume=",
    "sweep": "train -m",
    "search": "train -m search=tpe",
    "list": "runs",
    "ls": "runs",
    "mlflow": "ui",
    "sample": "generate",
    "try": "demo",
    "report": "compare",
    "inspect": "check",
    "fit": "train",
    "test": "evaluate",
    "eval": "evaluate",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The `facelab` command.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        Exit status: 0 on success, 2 for an invalid command or config, 1 for any other failure, 130 after Ctrl-C, 141 if
        the reader closes the output before its end (`| head`).
    """
    with guarded_output() as output:
        set_training_command("facelab train")
        return output.status(_main(list(sys.argv[1:] if arguments is None else arguments) or ["--help"]))


def train(arguments: Sequence[str] | None = None) -> int:
    """The program `train.py`: compose, check, train. Arguments and exit status as for `main`."""
    with guarded_output() as output:
        words = sys.argv[1:] if arguments is None else arguments
        set_training_command("python train.py")
        return output.status(_run("train", _train_task, training_command(), words))


def _main(arguments: Sequence[str]) -> int:
    command, *rest = arguments
    if command == "help" and rest and rest[0] in _TASKS:
        command, rest = rest[0], ["--help"]
    if command in _TASKS:
        return _run(command, _TASKS[command], f"facelab {command}", rest)
    if command in ("--help", "-h", "help"):
        print(USAGE, end="")
        return 0
    if command == "--version":
        return _print_version()
    return _complain(f"{_unknown_command(command, rest)}\n\n{USAGE.rstrip()}")


def _unknown_command(command: str, rest: Sequence[str]) -> str:
    """The message for an unknown command, with the nearest one."""
    line = shlex.join(rest)
    if command in ("-sc", "--shell-completion"):
        return f'{command}: shell completion is of train.py. In bash: eval "$(python train.py -sc install=bash)"'
    if command.startswith("-") or "=" in command:
        words = [f"+{command}" if command in overlays() else command, *rest]
        return f"{command}: the command comes first. Write: facelab train {shlex.join(words)}"
    if command in _MEANT:
        meant = _MEANT[command]
        written = f"{meant}{line or '<run id>'}" if meant.endswith("=") else f"{meant} {line}".rstrip()
        return f"there is no command '{command}'. Write: facelab {written}"
    return f"there is no command '{command}'.{nearest(command, list(_TASKS))}"


def _print_version() -> int:
    print(f"facelab {facelab.__version__}")
    return 0


def _train_task(composed: DictConfig) -> None:
    from facelab.commands.train import train_task

    train_task(composed)


def _check_task(composed: DictConfig) -> None:
    from facelab.commands.check import Check, check_images

    check_images(_checked(composed, Check))


def _evaluate_task(composed: DictConfig) -> None:
    from facelab.commands.evaluate import evaluate_task

    evaluate_task(composed)


def _generate_task(composed: DictConfig) -> None:
    from facelab.commands.generate import Generation, generate

    generate(_checked(composed, Generation))


def _demo_task(composed: DictConfig) -> None:
    from facelab.commands.demo import Demo, demo

    demo(_checked(composed, Demo))


def _export_task(composed: DictConfig) -> None:
    from facelab.commands.export import Export, export

    export(_checked(composed, Export))


def _align_task(composed: DictConfig) -> None:
    from facelab.commands.align import Alignment, align

    align(_checked(composed, Alignment))


def _enroll_task(composed: DictConfig) -> None:
    from facelab.commands.enroll import Enrolling, enroll

    enroll(_checked(composed, Enrolling))


def _identify_task(composed: DictConfig) -> None:
    from facelab.commands.identify import Identifying, identify_faces

    identify_faces(_checked(composed, Identifying))


def _gallery_task(composed: DictConfig) -> None:
    from facelab.commands.enroll import Managing, manage
    from facelab.config.texts import typed_values

    manage(_checked(composed, Managing), typed_values(HydraConfig.get()))


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
    from facelab.config.texts import typed_values

    return check(plain(composed), root, typed=typed_values(HydraConfig.get()))


_TASKS = {
    "train": _train_task,
    "check": _check_task,
    "evaluate": _evaluate_task,
    "generate": _generate_task,
    "demo": _demo_task,
    "export": _export_task,
    "align": _align_task,
    "enroll": _enroll_task,
    "identify": _identify_task,
    "gallery": _gallery_task,
    "compare": _compare_task,
    "best": _best_task,
    "runs": _runs_task,
    "sync": _sync_task,
    "ui": _ui_task,
}


def _run(config_name: str, task: Callable[[DictConfig], None], program_name: str, arguments: Sequence[str]) -> int:
    """Run a task under Hydra, and print errors a user can fix as messages."""
    print_anything()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print shortened tracebacks instead of raising
    if "--version" in arguments:
        return _print_version()
    failed = False
    try:
        arguments = check_arguments(program_name, arguments)
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

    program = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)(guarded)
    before = sys.argv
    sys.argv = [f"{config_name}.py", *arguments]
    try:
        program()
    except (KeyboardInterrupt, Interrupted):
        print("Interrupted.", file=sys.stderr)
        return 130
    except (HydraException, OmegaConfBaseException) as error:
        return _complain(_explained(error, config_name, program_name, arguments))
    except FacelabError as error:
        return _complain(str(error))
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    finally:
        sys.argv = before
    return 1 if failed else 0


def _explained(error: Exception, config_name: str, program_name: str, arguments: Sequence[str]) -> str:
    ambiguous = re.search(r"Ambiguous value for argument '(.*)'\n", str(error))
    if ambiguous and ambiguous[1] in arguments:
        return unambiguous(program_name, arguments, ambiguous[1])
    return explain_composition(error, config_name, arguments)


def _complain(message: str) -> int:
    print("\n".join(map(visible, f"Error: {message}".split("\n"))), file=sys.stderr)
    return 2
