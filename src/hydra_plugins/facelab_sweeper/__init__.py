"""Hydra's sweep with every job's config checked before the first one starts."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class FacelabSweeper(BasicSweeper):
    """All combinations of the swept values, one job each, in order.

    This class is loaded in every Hydra program of the environment, so it imports nothing heavy.
    """

    def sweep(self, arguments: list[str]) -> Any:
        """Check all jobs, then run them.

        Raises:
            ConfigError: a job's config is wrong; none has been started.
        """
        from facelab.cli import check_training

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        parsed = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        jobs = [list(job) for batch in self.split_arguments(parsed, None) for job in batch]
        for job in jobs:
            check_training(loader.load_sweep_config(self.config, job))
        return self.launcher.launch(jobs, initial_job_idx=0)
