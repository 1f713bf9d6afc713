"""Text that looks like a number stays the text that was typed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from facelab.config.check import check
from facelab.config.load import load_yaml
from facelab.config.texts import with_texts
from facelab.errors import ConfigError
from facelab.tracking import SqliteStore
from tests.conftest import TINY_CNN, Command


@dataclass
class _Root:
    text: str = ""
    maybe: str | None = None
    bounded: Annotated[str, Field(min_length=1)] = "x"
    several: Sequence[str] = ()
    named: Mapping[str, str] | None = None
    either: str | int = ""
    number: float = 0
    anything: Any = None
    chosen: Literal["a"] = "a"


@pytest.mark.parametrize(
    ("key", "value", "typed", "expected"),
    [
        ("text", 2024, "2024", "2024"),
        ("text", 16, "016", "016"),
        ("text", 1000.0, "1e3", "1e3"),
        ("text", float("inf"), "12e99999", "12e99999"),
        ("text", True, "True", "True"),
        ("text", 5, "${number}", "5"),
        ("text", 5, None, "5"),
        ("maybe", 5, "0_5", "0_5"),
        ("maybe", None, "null", None),
        ("bounded", 5, "5", "5"),
        ("several", [1, "b", 20.0], "[01,b,2e1]", ["01", "b", "2e1"]),
        ("several", [1, 2], None, ["1", "2"]),
        ("named", {"a": 1}, "{a:1}", {"a": "1"}),
        ("either", 5, "5", 5),
        ("number", 5, "5", 5),
        ("anything", 5, "5", 5),
    ],
)
def test_numbers_become_text_where_text_is_wanted(key: str, value: Any, typed: str | None, expected: Any) -> None:
    config = {key: value}
    found = with_texts(config, _Root, {key: typed} if typed else {})
    assert found == {key: expected}
    assert type(found[key]) is type(expected)
    assert config == {key: value}, "the original is left alone"


@pytest.mark.parametrize("value", [1.1, True])
def test_what_a_yaml_file_has_rounded_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="quotes"):
        check({"text": value}, _Root)


def test_nested_nodes_are_reached(facelab: Command, tmp_path: Path) -> None:
    (tmp_path / "2024").mkdir()
    error = facelab("train", "data=folder", "data.root=2024", "tracking.experiment=007", "name=16").error
    assert f"data.root: {tmp_path / '2024'} holds no folders" in error
    assert f"data.root: {tmp_path / '1e3'} is not a folder" in facelab("train", "data=folder", "data.root=1e3").error


def test_other_commands_take_text_too(facelab: Command, store_folder: Path) -> None:
    SqliteStore(str(store_folder)).open()
    error = facelab("compare", "runs=[1e5,017]", "tracking.experiment=2024", f"tracking.folder={store_folder}").error
    assert "1e5, 017" in error
    assert "run=0123:" in facelab("generate", "run=0123").error


def test_the_recorded_config_has_the_text(facelab: Command, tmp_path: Path, store_folder: Path) -> None:
    short = (*TINY_CNN, "model.recipe.max_images=16", f"tracking.folder={store_folder}")
    outcome = facelab("train", *short, "name=016", "tracking.experiment=2024")
    assert outcome.status == 0, outcome.error
    config = load_yaml(next(tmp_path.glob("runs/*/config.yaml")))
    assert (config["name"], config["tracking"]["experiment"]) == ("016", "2024")
