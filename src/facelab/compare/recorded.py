"""What runs have recorded beside their last values: curves, images and tables."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from facelab.tracking import ChildRow, RunFiles, Store, histories, picture_file

Curve = Sequence[tuple[int, float]]


class Recorded:
    """Reads from the runs' folders where they are here, or else from their store.

    Args:
        store: of the runs.
        runs_folder: where runs keep their files.
    """

    def __init__(self, store: Store, runs_folder: Path) -> None:
        self._store, self._runs_folder, self._files = store, runs_folder, RunFiles(store)

    def curves(self, ids: Sequence[str], metric: str) -> Mapping[str, Curve]:
        """Curves of a metric by run id: points (images seen, value), in order.

        Raises:
            TrackingError: the store cannot be read.
        """
        return histories(self._store, ids, metric)

    def pictures(self, run: ChildRow, names: Sequence[str]) -> Mapping[str, bytes]:
        """A run's images by name, as PNG; without those it does not have.

        Raises:
            TrackingError: the store cannot be read.
        """
        folder = self._runs_folder / run.id
        here = {name: file.read_bytes() for name in names if (file := picture_file(folder, name)) is not None}
        return here or self._files.images(run.id, names)

    def rows(self, run: ChildRow, name: str) -> list[dict[str, str]]:
        """Rows of a CSV file of a run, by column; empty if it has none.

        Raises:
            TrackingError: the store cannot be read.
        """
        file = self._runs_folder / run.id / name
        text = file.read_text(encoding="utf-8") if file.is_file() else self._files.text(run.id, name)
        return list(csv.DictReader(io.StringIO(text)))
