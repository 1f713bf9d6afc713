"""Follow the progress of a run from another process, by reading its spool."""

import json
from pathlib import Path

from facelab.tracking.run import TOTAL_IMAGES
from facelab.tracking.spool import SPOOL


class Watch:
    """Progress and latest metrics of a run; each `look` reads only new records.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._offset = folder / SPOOL, 0
        self.images_seen = 0
        self.total_images: int | None = None
        self.latest: dict[str, float] = {}

    @property
    def share(self) -> float:
        """Completed share of the run, in [0, 1]."""
        return min(1.0, self.images_seen / self.total_images) if self.total_images else 0.0

    def look(self) -> list[tuple[int, dict[str, float]]]:
        """Read new records.

        Returns:
            New validations: images seen, and `val/...` values by name.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                lines = file.read()
        except FileNotFoundError:
            return []
        whole = lines[: lines.rfind(b"\n") + 1]
        self._offset += len(whole)
        new = []
        for line in whole.splitlines():
            try:
                item = json.loads(line)
            except ValueError:
                continue  # truncated by a kill
            if item.get("tag") == TOTAL_IMAGES:
                self.total_images = int(item["value"])
            values = {name: value for name, value in item.get("metrics", {}).items() if not name.startswith("system/")}
            if values:
                self.images_seen = max(self.images_seen, item["step"])
                self.latest.update(values)
                validation = {name: value for name, value in values.items() if name.startswith("val/")}
                if validation:
                    new.append((int(item["step"]), validation))
        return new
