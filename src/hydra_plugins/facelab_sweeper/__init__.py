"""Hands Hydra's sweeps over to facelab."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class FacelabSweeper(Sweeper):
    """All combinations of the swept values, or a search among them; see `facelab.sweep`.

    This class is loaded in every Hydra program of the environment, so it imports nothing heavy.

    Args:
        params: overrides by key, as an experiment of `experiments/` gives them; the command line goes before them.
    """

    def __init__(self, params: dict[str, Any] | None) -> None:
        self._params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self._context, self._config = hydra_context, config

    def sweep(self, arguments: list[str]) -> Any:
        """Called by Hydra, with the overrides of the command line."""
        from facelab.commands.train import sweep

        params = [f"{key}={value}" for key, value in self._params.items()]
        raise SystemExit(sweep(self._config, self._context.config_loader, [*params, *arguments]))
