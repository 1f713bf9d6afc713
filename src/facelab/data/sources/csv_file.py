"""Data source for images that a CSV or Parquet file lists."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facelab.config.build import nearest
from facelab.data.listing import folder_at, leads_into, some_of
from facelab.data.parts import with_parts
from facelab.data.source import FaceSource, Rows, readable
from facelab.data.tables import read_table
from facelab.errors import DataError


@dataclass
class CSV(FaceSource):
    """Images that a CSV or Parquet file lists, with any columns: identity, expression, age, camera, ...

    Format: a header and one row per image. Of the columns, `path_column` holds the path of the image below `root`; all
    others become columns of the set, as the texts they are written as. An empty cell means that there is no value. A
    column `part` must hold train, val or test, for `split=official`. The order of the rows is kept.

    Args:
        file: path of the CSV file, or of a Parquet file, whose name ends in .parquet.
        root: folder of the images, which no path may leave; the folder of the file if None.
        path_column: the column with the paths.
    """

    file: str
    root: str | None = None
    path_column: str = "path"

    def rows(self) -> Rows:
        """Read the table and locate all images."""
        columns: dict[str, Sequence[str]] = {**read_table(self.file, "data.file", self.path_column)}
        file = Path(self.file)
        source = readable(str(file.absolute()))
        where = f"data.file: {source}"
        if self.path_column not in columns:
            raise DataError(
                f"data.path_column={self.path_column}: {source} has no such column. Its columns: "
                f"{', '.join(columns)}.{nearest(self.path_column, list(columns))}"
            )
        root = file.parent if self.root is None else folder_at(self.root, "data.root", "the folder of the images")
        paths = _Located(root).all_of(columns.pop(self.path_column), where, self.path_column)
        return replace(Rows.of_files(readable(file.stem), root, paths, with_parts(columns, where)), source=source)


class _Located:
    """Finds files by the paths of a table, below a folder that they must not leave.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.inside = root, root.resolve()
        self._is_inside: dict[Path, bool] = {}

    def all_of(self, texts: Sequence[str], where: str, column: str) -> list[Path]:
        """The file of each text.

        Raises:
            DataError: paths are empty, leave the folder, or lead to no file; says how many, and the first five.
        """
        found = [self.path_of(text) for text in texts]
        outside = [text for text, path in zip(texts, found, strict=True) if path is None]
        missing = [text for text, path in zip(texts, found, strict=True) if path and not self._exists(path)]
        empty = sum(not text for text in texts)
        root = readable(str(self.root.absolute()))
        if empty:
            raise DataError(f"{where}: {empty:,} of {len(texts):,} rows have no {column}. Fill it in, or delete them.")
        if missing:
            windows = " Write / between folders." if "\\" in missing[0] else ""
            raise DataError(
                f"{where}: {len(missing):,} of {len(texts):,} images do not exist below {root}: {some_of(missing)}. "
                f"Set data.root to the folder that the column {column} starts from.{windows}"
            )
        linked = [text for text, path in zip(texts, found, strict=True) if path and not self._stays(path)]
        if outside or linked:
            raise DataError(
                f"{where}: {len(outside) + len(linked):,} of {len(texts):,} images lie outside {root}, by their path "
                f"or by a symbolic link: {some_of(outside + linked)}. Set data.root to a folder that contains all."
            )
        return [path for path in found if path]

    def path_of(self, text: str) -> Path | None:
        """The path below the root, without `..`; None if it leaves the root."""
        path = os.path.normpath(text)
        for root in (str(self.root.absolute()), str(self.inside)):
            if path.startswith(root + os.sep):
                path = path[len(root) + 1 :]
        return None if path.startswith(("/", "../")) or path == ".." else self.root / path

    def _exists(self, path: Path) -> bool:
        try:
            path.lstat()
        except (OSError, ValueError):  # a path may hold a zero byte
            return False
        return True

    def _stays(self, path: Path) -> bool:
        """Whether neither the file nor a folder on the way to it is a link out of the root."""
        if path.parent not in self._is_inside:  # looked up once per folder: resolving takes a while
            self._is_inside[path.parent] = leads_into(path.parent, self.inside)
        return self._is_inside[path.parent] and (
            not stat.S_ISLNK(path.lstat().st_mode) or leads_into(path, self.inside)
        )
