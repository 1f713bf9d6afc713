"""Declare the further runs that a component of a config depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Need:
    """A run that a component depends on, found among the finished runs by its config, or trained first.

    Args:
        name: role of the run, and the component's argument that describes it as a list of overrides.
        same: root keys of the config whose values it takes from the run that needs it, such as `data` and `split`.
        overrides: further overrides, after those that describe it.
        of_strangers: whether it must know nobody of the run that needs it.
    """

    name: str
    same: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    of_strangers: bool = False


class NeedsRuns:
    """Base class of the components that may depend on further runs."""

    @classmethod
    def needs(cls, node: Mapping[str, Any], config: Mapping[str, Any]) -> Sequence[Need]:
        """The runs that a component depends on; by default none.

        Args:
            node: config of the component.
            config: of the run that it is part of.
        """
        return ()

    @classmethod
    def check_dependency(cls, name: str, config: Mapping[str, Any], node: Mapping[str, Any]) -> None:
        """Check the composed config of a run that the component depends on.

        Args:
            name: role of that run.
            config: of that run.
            node: config of the component.

        Raises:
            ConfigError: the run does not meet the component's requirements.
        """
        return
