"""The config of a trial, against the one that Hydra composes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.types import RunMode
from omegaconf import OmegaConf

from facelab.config.compose import config_folder
from facelab.sweep.overlay import folder_name, overlay


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", list(overrides)), resolve=False)


GROUPS = ("data", "split", "augment", "model", "trainer", "tracking", "protocol", "executor", "search")


@pytest.mark.parametrize(
    ("overrides", "fixed"),
    [
        ({"model": "cnn_arcface", "model.recipe.batch_size": "16"}, ["split=kfold", "split.fold=2", "seed=4"]),
        ({"model.recipe.batch_size": "1e-05"}, ["name='a, b: \"c\" # d'", "data.root='1e5'", "+data.extra='true'"]),
        ({"model.encoder.widths": "[8,16]"}, ["model=cnn", "model=cnn_classic", "model=cnn", "~search"]),
        ({"data.name": "\\$\\{model._target_\\}"}, ["model.recipe={batch_size:3}", "data=face_nonface"]),
        ({"seed": "null"}, ["+few_shot=sweep", "split.train_per_identity=2"]),
        ({"split": "ratio"}, ["+few_shot=sweep"]),
        ({"name": "'5'"}, []),
        ({}, ["model=gan"]),
    ],
)
def test_the_overlay_gives_the_config_of_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: dict[str, str], fixed: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments" / "found").mkdir(parents=True)
    text = overlay(overrides, fixed, "python train.py -m 'model=cnn,gan'\nsearch=tpe", GROUPS)
    assert text.startswith("# @package _global_\n# The best trial of: python train.py -m 'model=cnn,gan' search=tpe\n")
    (tmp_path / "experiments" / "found" / "best.yaml").write_text(text)
    expected = composed(*(f"++{one}" if one.startswith("data.root") else one for one in fixed), *_forced(overrides))
    assert composed("+found=best") == expected
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        assert compose("train", ["+found=best"], return_hydra_config=True).hydra.mode != RunMode.MULTIRUN


def _forced(overrides: Mapping[str, str]) -> list[str]:
    return [f"++{key}={text}" if "." in key else f"{key}={text}" for key, text in overrides.items()]


def test_an_arm_that_was_added_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`+tri/arm=x` is in no defaults list, so there is nothing to override."""
    monkeypatch.chdir(tmp_path)
    arms = tmp_path / "experiments" / "tri" / "arm"
    (tmp_path / "experiments" / "found").mkdir(parents=True)
    arms.mkdir(parents=True)
    (arms / "x.yaml").write_text("# @package _global_\ndefaults:\n  - override /model: gan\nseed: 7\n")
    (arms.parent / "base.yaml").write_text("# @package _global_\ndefaults:\n  - /tri/arm: y\n")
    (arms / "y.yaml").write_text("# @package _global_\nseed: 8\n")
    for swept, fixed in (("+tri/arm", ()), ("tri/arm", ("+tri=base",))):
        text = overlay({swept: "x"}, fixed, "command", GROUPS)
        (tmp_path / "experiments" / "found" / "best.yaml").write_text(text)
        assert composed("+found=best") == composed(*fixed, f"{swept}=x")


@pytest.mark.parametrize(
    ("sweep", "folder"),
    [
        ("rates", "rates"),
        ("größe 2", "gr_e_2"),
        ("2024-lr", "search_2024_lr"),
        ("model", "search_model"),
        ("é", "_"),
    ],
)
def test_the_folder_of_the_best_config_is_a_name_that_hydra_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: str, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_name(sweep, GROUPS) == folder
    (tmp_path / "experiments" / folder).mkdir(parents=True)
    (tmp_path / "experiments" / folder / "best.yaml").write_text(overlay({"seed": "5"}, [], "command", GROUPS))
    assert composed(f"+{folder}=best")["seed"] == 5


def test_what_an_overlay_cannot_say_is_written_beside_it() -> None:
    text = overlay({"seed": "1"}, ["~model.recipe", "model.encoder.widths.0=8"], "x", GROUPS)
    assert "command line: ~model.recipe" in text
    assert "command line: model.encoder.widths.0=8" in text
    assert "widths:" not in text
