"""A command line before Hydra reads it: what is refused, and the command that works instead."""

import inspect
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import pytorch_lightning as pl
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from facelab.config.command_line import check_arguments, quoted
from facelab.config.foreign import foreign_hint
from facelab.config.identity import flatten
from facelab.errors import ConfigError
from facelab.system import visible
from facelab.training.trainer import TrainerSettings
from tests.conftest import Command

PATHS = (
    *("faces (1)", "Bob's faces", "a#b", "a=b", "a,b", "Gesichter-für-Ü/王", "[x]", "{x", 'the "best"', "50% & more;"),
    *(
        "~no such user",
        "both ' and \"",
        "back\\slash's",
        "end\\",
        "a${b}",
        "x: y",
        "null!",
        "tab\there",
        "a*?b|c<d>e`f`",
    ),
)


def _shell(line: str) -> list[str]:
    """The words that a real shell makes of a command, without the program."""
    script = f"facelab() {{ printf '%s\\0' \"$@\"; }}\n{line}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[1:-1]


@pytest.mark.parametrize("path", PATHS)
def test_the_command_shown_for_a_path_works_in_a_shell(facelab: Command, tmp_path: Path, path: str) -> None:
    outcome = facelab("train", "data=folder", f"data.root={path}", "seed=7")
    assert outcome.status != 0
    assert "Traceback" not in outcome.error
    lines = [line for line in outcome.error.splitlines() if line.startswith("  facelab train")]
    if "As text: " in outcome.error:
        lines = [f"facelab train data=folder {outcome.error.partition('As text: ')[2].strip()} seed=7"]
    if "is written" in outcome.error:  # an interpolation, which may be meant
        lines = [f"facelab train data=folder {quoted('data.root', path)} seed=7"]
    if not lines:  # Hydra reads it as it is
        assert f"/{visible(path)} is not a folder" in outcome.error
        return
    (line,) = [line for line in lines if "[a,b]" not in line and " -m " not in line]
    shown = facelab("train", *_shell(line), "--cfg", "job", "--resolve")
    config = yaml.safe_load(shown.out)
    assert (config["data"]["root"], config["seed"]) == (path, 7)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).map(str.strip))
def test_any_text_can_be_quoted(text: str) -> None:
    (word,) = shlex.split(quoted("name", text))
    (override,) = OverridesParser.create().parse_overrides([word])
    assert OmegaConf.create({"name": override.value()}).name == text


def test_a_home_folder_is_written_out(facelab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/some one")
    error = facelab("train", "data=folder", "data.root=~/faces (2)").error
    assert _shell(error.strip().splitlines()[-1]) == ["data=folder", 'data.root="/home/some one/faces (2)"']


def test_words_of_a_path_with_spaces_are_joined(facelab: Command) -> None:
    error = facelab("train", "data=folder", "data.root=my", "faces").error
    assert _shell(error.strip().splitlines()[-1]) == ["data=folder", "data.root=my faces"]


def test_values_separated_by_commas_may_be_a_sweep(facelab: Command) -> None:
    error = facelab("train", "seed=1,2").error
    lines = [_shell(line) for line in error.splitlines() if line.startswith("  facelab")]
    assert lines == [["-m", "seed=1,2"], ['seed="1,2"'], ["seed=[1,2]"]]
    assert "-m" not in facelab("runs", "limit=1,2").error


def test_options_may_stand_anywhere() -> None:
    assert check_arguments("facelab train", ["seed=1", "-m", "name=x"]) == ["-m", "seed=1", "name=x"]
    assert check_arguments("facelab train", ["seed=1", "-c", "job", "name=x"]) == ["--cfg=job", "seed=1", "name=x"]
    assert check_arguments("facelab train", ["--info", "seed=1"]) == ["--info=all", "seed=1"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config-name", "nope"], ["--config-name", "group=file"]),
        (["--config-dir=nope"], ["--config-dir", "./conf"]),
        (["-cp", "x"], ["-cp"]),
        (["--experimental-rerun", "x.pickle"], ["--experimental-rerun"]),
        (["--epochs", "3"], ["--epochs", "epochs=3"]),
        (["--cfg"], ["--cfg", "job, hydra, all"]),
        (["-m", "--cfg", "job"], ["-m", "--cfg job"]),
        (["resume", "abc"], ["resume=abc"]),
        ([""], ["key=value"]),
        (["=3"], ["=3", "key=value"]),
        (["split=null"], ["split=null", "few_shot", "ratio"]),
        (["data=null"], ["data=null", "orl"]),
        (["-m", "split=ratio,null"], ["split=null"]),
        (["model=3"], ["model=3", "cnn"]),
        (["executor="], ["executor=", "local, slurm"]),
        (["hydra/launcher=joblib"], ["hydra/launcher", "executor=slurm", "sweep.jobs"]),
        (["-m", "hydra/sweeper=optuna"], ["hydra/sweeper", "search=tpe", "search.trials"]),
        (["+hydra/job_logging=colorlog"], ["hydra/job_logging", "Leave it out"]),
        (["-sc"], ["python train.py -sc install=bash"]),
    ],
    ids=" ".join,
)
def test_what_hydra_would_not_explain(arguments: list[str], says: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_arguments("facelab train", arguments)
    for words in says:
        assert words in str(caught.value)


def test_a_search_may_be_unset(facelab: Command) -> None:
    assert "search" not in yaml.safe_load(facelab("train", "search=null", "--cfg", "job").out)


def test_only_training_sweeps() -> None:
    with pytest.raises(ConfigError, match="-m"):
        check_arguments("facelab runs", ["-m", "limit=1,2"])


def test_every_argument_of_lightnings_trainer_is_explained(facelab: Command) -> None:
    ours = set(inspect.signature(TrainerSettings).parameters)
    for name in set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"} - ours:
        assert foreign_hint(f"trainer.{name}"), name
    assert "model.recipe.max_epochs" in facelab("train", "trainer.max_epochs=3").error
    assert "model.optimizer.lr" in facelab("train", "+trainer.gradient_clip_val=1").error


def test_foreign_names_are_explained_by_keys_that_exist(facelab: Command) -> None:
    from facelab.config import foreign

    known = flatten(yaml.safe_load(facelab("train", "search=tpe", "data=folder", "--cfg", "job").out))
    nodes = {".".join(key.split(".")[:depth]) for key in known for depth in range(1, 9)}
    for explanation in foreign._NAMES:
        for key in re.findall(r"[a-z]\w*(?:\.\w+)+", explanation):
            assert key in nodes, key


def test_a_foreign_name_is_not_explained_by_a_key_that_the_model_lacks(facelab: Command) -> None:
    error = facelab("train", "model=eigenfaces", "max_epochs=3").error
    assert "max_epochs: unknown key" in error
    assert "model.recipe" not in error


def test_a_key_of_another_choice_says_which(facelab: Command) -> None:
    error = facelab("train", "model=cnn_classic", "model.encoder.widths=[8]").error
    assert "facelab.nets.ClassicEncoder" in error
    assert "model=cnn," in error
    assert "model=cnn_arcface," in error  # by what it inherits
    assert "data=folder" in facelab("train", "data.root=x").error
