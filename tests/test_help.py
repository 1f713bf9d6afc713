"""What `--help` says of values."""

import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from facelab.commands.align import Alignment
from facelab.commands.check import Check
from facelab.commands.compare import Best, Comparison
from facelab.commands.enroll import Enrolling, Managing
from facelab.commands.evaluate import Evaluating
from facelab.commands.export import Export
from facelab.commands.generate import Generation
from facelab.commands.identify import Identifying
from facelab.commands.train import TrainConfig
from facelab.config.build import resolve_target
from facelab.config.compose import config_folder
from facelab.config.signatures import annotation_of, parameters_of
from tests.conftest import Command

ROOTS = {
    "align": Alignment,
    "best": Best,
    "check": Check,
    "compare": Comparison,
    "enroll": Enrolling,
    "evaluate": Evaluating,
    "export": Export,
    "gallery": Managing,
    "generate": Generation,
    "identify": Identifying,
    "train": TrainConfig,
}


def _choices(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return [str(value) for value in typing.get_args(annotation)]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [choice for member in typing.get_args(annotation) for choice in _choices(member)]
    return []


def _keys(values: dict[str, Any], target: Callable[..., Any] | None, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The keys below a node whose values are fixed by type, each with these values as text."""
    parameters = {} if target is None else parameters_of(target)
    for name, value in values.items():
        if target is not None and name in parameters:
            choices = _choices(annotation_of(target, parameters[name]))
            if choices:
                yield prefix + name, ", ".join(choices)
        if isinstance(value, dict):
            its = resolve_target(value["_target_"]) if "_target_" in value else None
            yield from _keys(value, its, f"{prefix}{name}.")


@pytest.mark.parametrize("command", ROOTS)
def test_help_lists_the_values_of_every_key_that_takes_one_of_a_few(facelab: Command, command: str) -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed: Any = OmegaConf.to_container(compose(command), resolve=False)
    expected = [f"  {key}: {values}" for key, values in _keys(composed, ROOTS[command])]
    _, _, listed = facelab(command, "--help").out.partition("Values to choose from:\n\n")
    assert [line for line in listed.partition("\n\n")[0].split("\n") if line] == expected
