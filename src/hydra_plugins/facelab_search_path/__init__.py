"""Lets facelab's commands find experiments, and configs of one's own in the folder one works in."""

from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class FacelabSearchPath(SearchPathPlugin):
    """Adds `experiments/`, and prepends `./conf` and `./experiments`, for facelab's own configs only.

    This class is loaded in every Hydra program of the environment, so it imports nothing and leaves theirs alone.
    """

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
        search_path.append("facelab-experiments", str(own.parent / "experiments"))
        for name in ("experiments", "conf"):
            folder = Path.cwd() / name
            if folder.is_dir() and folder.resolve() != (own.parent / name).resolve():
                search_path.prepend(f"facelab-{name}-here", str(folder))
