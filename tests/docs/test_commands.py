"""Every command of README and docs is checked as it stands: composed by the code of the command line, and each value
compared with what takes it. Commands of other programs are looked up. A command of no known kind fails.
"""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from facelab import cli
from facelab.commands import train
from facelab.config.check import check, plain
from facelab.config.command_line import RUNS_OWN, check_arguments
from facelab.config.compose import config_folder
from facelab.sweep.plan import Job, Plan, points
from tests import test_extending
from tests.conftest import ROOT
from tests.conftest import Command as CommandLine
from tests.docs.pages import PAGES, Command, commands, files, of_page

ANY = {"run id": "0" * 32, "name": "anything", "host": "127.0.0.1", "port": "5000", "command": "train"}
# Programs of the system, and what needs a file of the reader's own.
OTHERS = {
    "source .venv/bin/activate",
    "pre-commit install",
    "rm -r runs/<run id>",
    "rm -r ~/.cache/facelab",
    "export MLFLOW_TRACKING_URI=sqlite:///mlflow.db",
    "export MLFLOW_TRACKING_URI=sqlite:///$PWD/mlflow.db",
    "export PYTHONPATH=$PWD FACELAB_ALLOW=my_faces",
    "export LC_ALL=C.UTF-8",
    "docker run --shm-size=64m ...",
}
WRONG = {"python train.py modle=cnn": "modle: unknown key. Did you mean 'model'?"}
# Installed by hand, for what facelab can use but does not need.
UNDECLARED = {"timm"}
COMMANDS = commands()


@cache
def hooks() -> ModuleType:
    """docs/hooks.py."""
    specification = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def _in_a_folder_with_the_files_of_the_pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The YAML files that pages tell to write, and those that commands write; Hydra composes in this folder."""
    folder = tmp_path_factory.mktemp("reader")
    explained = (ROOT / "experiments" / "tutorial" / "explained.yaml").read_text(encoding="utf-8")
    best = "# @package _global_\nseed: 1\n"
    written = {"mine/first": explained, "rates/best": best, "anything/best": best}
    for name, text in {**files(), **{f"experiments/{name}.yaml": text for name, text in written.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    GlobalHydra.instance().clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HOME", str(folder))
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            yield


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page}: {command.text[:60]}")
def test_a_command_of_the_pages_is_right(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    if command.text in OTHERS:
        return
    if command.page == "extending.md" and command.text.startswith("facelab train"):
        assert command.text.removeprefix("facelab ") in test_extending.COMMANDS, (
            "tests/test_extending.py runs this page"
        )
        return
    if command.text in WRONG or command.answer:
        return  # see the next test
    program, *words = command.words(ANY)
    if program == "facelab":
        _check_facelab(words[0], words[1:], monkeypatch)
    elif (program, *words[:1]) == ("python", "train.py"):
        _check_facelab("train", words[1:], monkeypatch)
    else:
        _CHECKS[program](words)


def test_mistakes_of_the_pages_are_answered_as_the_pages_say(facelab: CommandLine) -> None:
    shown = [command for command in COMMANDS if command.answer]
    assert shown
    for command in shown:
        outcome = facelab(*command.words(ANY)[1:])
        assert outcome.error.strip() == command.answer.strip()
    for text, answer in WRONG.items():
        assert answer in facelab("train", *shlex.split(text)[2:]).error


def test_all_pages_are_read() -> None:
    assert {page.name for page in PAGES if not list(of_page(page))} <= {"design.md", "glossary.md", "mlflow.md"}
    assert len(COMMANDS) > 150


def _check_facelab(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert name in cli._TASKS, f"facelab has no command {name}"
    if not words:  # a mention
        return
    arguments = check_arguments(f"facelab {name}", words)
    overrides = [word for word in arguments if not word.startswith("-")]
    if "-m" in arguments or _is_swept(overrides):
        _check_sweep(overrides, monkeypatch)
        return
    composed = compose(name, overrides)
    if name == "train":
        train.check_training(composed)
    elif not _has_open_values(composed):
        kept = [str(key) for key in composed if name != "evaluate" or key not in RUNS_OWN]
        check(plain(OmegaConf.masked_copy(composed, kept)), hooks().command_roots()[name])


def _is_swept(overrides: list[str]) -> bool:
    """Whether a command without `-m` is a sweep: it names an experiment that says so."""
    if not any(re.match(r"\+\w+=", word) for word in overrides):
        return False
    named = [word for word in overrides if word.startswith("+")]
    return compose("train", named, return_hydra_config=True).hydra.mode == RunMode.MULTIRUN  # type: ignore[no-any-return]


def _has_open_values(composed: DictConfig) -> bool:
    """Whether a mention such as `facelab compare metrics=[...]` leaves out what the command needs."""
    return any(OmegaConf.is_missing(composed, key) for key in composed)


def _check_sweep(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose and check the last job, in place of running all."""

    def run(plan: Plan, base: Job) -> int:
        if not plan.searching:
            *_, last = points(plan.axes)
            plan.compose(last)
        return 0

    monkeypatch.setattr(train, "run_sweep", run)
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration("train", overrides, RunMode.MULTIRUN)
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["train.py", *overrides])
        assert train.sweep(config, loader, [*params, *overrides]) == 0


def _check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert words[0] in targets


def _check_python(words: list[str]) -> None:
    if words[0] == "-c":
        compile(words[1], "-c", "exec")
    elif words[:2] == ["-m", "pytest"]:
        _check_pytest(words[2:])
    else:
        assert words[0].startswith(("experiments/", "docs/"))
        text = (ROOT / words[0]).read_text(encoding="utf-8")
        compile(text, words[0], "exec")
        assert '__name__ == "__main__"' in text


def _check_pytest(words: list[str]) -> None:
    keyword = words[words.index("-k") + 1] if "-k" in words else ""
    for word in words:
        if word.startswith("tests/"):
            path = ROOT / word
            paths = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
            text = "".join(one.read_text(encoding="utf-8") for one in paths)
            assert re.search(rf"def test_\w*{keyword}", text)


def _check_pip(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", one)[0] for one in project["dependencies"]}
    for package in [word for word in words[1:] if word != "-e"]:
        name, _, extra = package.partition("[")
        assert extra.removesuffix("]") in (project["optional-dependencies"] if extra else {""})
        assert name.partition("==")[0] in {*declared, *UNDECLARED, "."}


def _check_mlflow(words: list[str]) -> None:
    """tests/docs/test_run_commands.py runs those that change a store."""
    assert words[0] in ("server", "runs", "gc", "db") or words[:2] == ["models", "serve"]


def _check_curl(words: list[str]) -> None:
    """tests/exporting/test_http.py sends such a request."""
    assert words[0] == "http://127.0.0.1:5001/invocations"


_CHECKS = {
    "make": _check_make,
    "python": _check_python,
    "pytest": _check_pytest,
    "pip": _check_pip,
    "mlflow": _check_mlflow,
    "curl": _check_curl,
}
