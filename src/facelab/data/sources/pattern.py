"""Data source that takes the columns from file names by a regular expression."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from facelab.data.listing import Listing, folder_at, some_of
from facelab.data.parts import with_parts
from facelab.data.source import FaceSource, Rows, readable
from facelab.errors import DataError

_LONGEST_NAME = 4096  # characters; the time of a match may grow steeply with the length


@dataclass
class Pattern(FaceSource):
    r"""Images below a folder, at any depth, whose file names hold the columns.

    Format: the whole path of an image below the root, with `/` between folders, must match the regular expression; each
    named group `(?P<column>...)` becomes a column, and one without a match gives no value. A column `part` must hold
    train, val or test, for `split=official`. Folders and files are read in natural order (s2 before s10), the images of
    a folder before those of its subfolders.

    Examples:
        Yale, `subject03/subject03.happy.png`: `(?P<identity>subject\d+)/.*\.(?P<expression>\w+)\.png`
        CK+, `S005/001/S005_001_00000011.png`: `.*/(?P<identity>S\d+)_(?P<sequence>\d+)_(?P<frame>\d+)\.png`
        UTKFace, `25_0_2_20170104165519828.jpg`: `(.*/)?(?P<age>\d+)_(?P<gender>[01])_(?P<race>[0-4])_\d+\..*`

    Args:
        root: path of the folder.
        pattern: regular expression in Python's syntax, with at least one named group.
        unmatched: handling of images whose path does not match: `error`, or `skip` them.

    Raises:
        DataError: the pattern is not a regular expression or has no named group.
    """

    root: str
    pattern: Annotated[str, Field(max_length=1000)]
    unmatched: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        if not self._compiled().groupindex:
            raise DataError(
                f"data.pattern={self.pattern}: expected a named group for each column, such as (?P<identity>[^/]+)/.*"
            )

    def rows(self) -> Rows:
        """List all images below the root that match."""
        root = folder_at(self.root, "data.root", "a folder of images")
        where = f"data.root: {readable(str(root.absolute()))}"
        listing = Listing(root)
        prefix = f"{root.as_posix()}/"
        pattern = self._compiled()
        paths: list[Path] = []
        found: list[dict[str, str]] = []
        others: list[str] = []
        for path in (path for _, images in listing.tree(root) for path in images):
            name = path.as_posix().removeprefix(prefix)
            match = pattern.fullmatch(name) if len(name) <= _LONGEST_NAME else None
            if match:
                paths.append(path)
                found.append(match.groupdict(""))
            else:
                others.append(name)
        if not paths and not others:
            raise DataError(f"{where} holds no images.")
        notes = self._left_out(others, len(paths), where)
        columns = {name: [values[name] for values in found] for name in pattern.groupindex}
        rows = Rows.of_files(readable(root.name), root, paths, with_parts(columns, f"data.pattern={self.pattern}"))
        return replace(rows, problems=listing.problems, notes=notes)

    def _compiled(self) -> re.Pattern[str]:
        try:
            return re.compile(self.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise DataError(
                f"data.pattern={self.pattern}: not a regular expression ({error}). The syntax is that of Python's re."
            ) from error

    def _left_out(self, others: list[str], matched: int, where: str) -> list[str]:
        """The note on images whose path does not match; an error if they are not to be skipped, or no image matches."""
        if not others:
            return []
        count = f"{len(others):,} of {len(others) + matched:,} images"
        if not matched:
            raise DataError(
                f"{where}: none of {len(others):,} images matches data.pattern={self.pattern}, which must match the "
                f"whole path below data.root: {some_of(others)}. Begin it with (.*/)? if folders do not matter."
            )
        if self.unmatched == "error":
            raise DataError(
                f"{where}: {count} do not match data.pattern={self.pattern}: {some_of(others)}. Extend the pattern, or "
                "type data.unmatched=skip to leave them out."
            )
        return [f"data.unmatched=skip: {count} do not match data.pattern and are left out: {some_of(others)}."]
