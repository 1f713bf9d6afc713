"""Lets facelab's commands find experiments, and configs of one's own in the folder one works in."""

from importlib.util import find_spec
from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin


class FacelabConfigSource(file_config_source.FileConfigSource):
    """The user's YAML files, read within the limits of `facelab.config.load`.

    These classes are loaded in every Hydra program of the environment, so they import nothing and leave theirs alone.
    """

    @staticmethod
    def scheme() -> str:
        """By which the search path names this source."""
        return "facelab"

    def load_config(self, config_path: str) -> ConfigResult:
        """Called by Hydra for each file it composes.

        Raises:
            ConfigError: the file is no valid YAML or exceeds a limit.
        """
        from facelab.config.load import check_yaml

        path = Path(self.path, self._normalize_file_name(config_path))
        if path.exists():
            check_yaml(path)
        return super().load_config(config_path)


class FacelabSearchPath(SearchPathPlugin):
    """Adds `experiments/`, and prepends `./conf` and `./experiments`, for facelab's own configs only."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra when the search path is made."""
        main = next((entry.path for entry in search_path.get_path() if entry.provider == "main"), None)
        spec = find_spec("facelab")
        if main is None or spec is None or spec.origin is None:
            return
        package = Path(spec.origin).parent
        own = Path(main.removeprefix("file://"))
        if own not in (package / "conf", package.parents[1] / "conf"):
            return
        search_path.append("facelab-experiments", f"facelab://{own.parent / 'experiments'}")
        for name in ("experiments", "conf"):
            folder = Path.cwd() / name
            if folder.is_dir() and folder.resolve() != (own.parent / name).resolve():
                search_path.prepend(f"facelab-{name}-here", f"facelab://{folder}")
