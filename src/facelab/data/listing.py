"""List the image files below a folder, and the files and folders that are unusable."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from facelab.data.images import OTHER_SUFFIXES, SUFFIXES, kind_of_file
from facelab.data.source import natural_order, readable, why_unreadable
from facelab.errors import DataError

# Written by operating systems and file servers; names that begin with a dot are passed over too.
SYSTEM_NAMES = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "Thumbs.db"}
_SHOWN = 5


class Listing:
    """Lists images and folders below a folder, in natural order (s2 before s10), and collects problems with them.

    Args:
        root: the folder; symbolic links must not lead out of it.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.inside = root, root.resolve()
        self.problems: list[str] = []

    def folders(self, folder: Path) -> list[Path]:
        """Subfolders of a folder, also through links."""
        return self._folders(folder, self._entries(folder), follow=True)

    def has_images(self, folder: Path) -> bool:
        """Whether a folder directly holds images."""
        return any(_suffix(entry.name) in SUFFIXES for entry in self._entries(folder))

    def tree(self, top: Path) -> Iterator[tuple[Path, list[Path]]]:
        """A folder and all folders below it, each with the images it directly holds.

        Links to folders are followed directly below `top`; a deeper one is a problem, since it may lead in a circle.
        """
        stack = [(top, True)]
        while stack:
            folder, follow = stack.pop()
            entries = self._entries(folder)
            yield folder, self._images(folder, entries)
            stack += [(inner, False) for inner in reversed(self._folders(folder, entries, follow))]

    def others(self, folder: Path) -> int:
        """Number of entries of a folder, those of operating systems not counted."""
        return len(self._entries(folder))

    def _folders(self, folder: Path, entries: Sequence[os.DirEntry[str]], follow: bool) -> list[Path]:
        found = []
        for entry in entries:
            if not _is_folder(entry) or not self._is_inside(entry):
                continue
            if entry.is_symlink() and not follow:
                self.problems.append(
                    f"{readable(entry.path)} is a symbolic link to a folder, too deep below {readable(str(self.root))} "
                    "to be followed; replace it by its target (cp -rL copies a folder that way)."
                )
            else:
                found.append(folder / entry.name)
        return found

    def _images(self, folder: Path, entries: Sequence[os.DirEntry[str]]) -> list[Path]:
        found = []
        for entry in entries:
            suffix = _suffix(entry.name)
            if suffix in OTHER_SUFFIXES:
                self.problems.append(
                    f"{readable(entry.path)} has an unsupported format ({suffix}); convert it to PNG or JPEG."
                )
            elif suffix in SUFFIXES and not _is_folder(entry) and self._is_inside(entry):
                found.append(folder / entry.name)
        return found

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                seen = [e for e in entries if not e.name.startswith(".") and e.name not in SYSTEM_NAMES]
        except OSError as error:
            raise DataError(why_unreadable(error)) from error
        return sorted(seen, key=lambda entry: natural_order(entry.name))

    def _is_inside(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink() or leads_into(Path(entry.path), self.inside):
            return True
        self.problems.append(
            f"{readable(entry.path)} is a symbolic link out of {readable(str(self.inside))}, or a broken one; replace "
            "it by its target (cp -rL copies a folder that way)."
        )
        return False


def leads_into(link: Path, folder: Path) -> bool:
    """Whether a symbolic link leads to something in a folder, which is given without links."""
    try:
        return link.resolve(strict=True).is_relative_to(folder)
    except (OSError, RuntimeError):  # broken or circular
        return False


def folder_at(path: str, key: str, expected: str) -> Path:
    """The folder that a config names.

    Args:
        path: as given.
        key: of the config, for messages.
        expected: what the folder should hold, such as `a folder with one subfolder per person`.

    Raises:
        DataError: it is not a folder.
    """
    if not path:
        raise DataError(f"{key} is empty; a shell variable in the command may be unset. Expected {expected}.")
    found = Path(path)
    if not found.is_dir():
        raise DataError(
            f"{key}: {readable(str(found.absolute()))} is not a folder. Expected {expected}. "
            "Hydra does not expand ~; type $HOME/... instead."
        )
    return found


def file_at(path: str, key: str, expected: str, most_bytes: int) -> Path:
    """The regular file that a config names; nothing else is opened, since a FIFO would block.

    Args:
        path: as given.
        key: of the config, for messages.
        expected: what the file should be, such as `a CSV or Parquet file`.
        most_bytes: the largest size that is read.

    Raises:
        DataError: it is missing, not a regular file, empty, or too large.
    """
    found = Path(path)
    where = f"{key}: {readable(str(found.absolute()))}"
    try:
        state = found.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError(
            f"{where} does not exist. Expected {expected}. Hydra does not expand ~; type $HOME/... instead."
        ) from error
    except OSError as error:
        raise DataError(f"{key}: {why_unreadable(error)}") from error
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{where} is {kind_of_file(state.st_mode)}. Expected {expected}.")
    if state.st_size == 0:
        raise DataError(f"{where} is empty (0 bytes). Expected {expected}.")
    if state.st_size > most_bytes:
        raise DataError(f"{where} has {state.st_size:,} bytes; at most {most_bytes:,} are read. Split it into several.")
    return found


def place_of_name(names: Sequence[str]) -> dict[str, int]:
    """The index of each name, also without its suffix unless several names are equal then."""
    bare = [str(PurePosixPath(name).with_suffix("")) for name in names]
    counts = Counter(bare)
    clear = {stem: place for place, stem in enumerate(bare) if counts[stem] == 1}
    return clear | {name: place for place, name in enumerate(names)}


def some_of(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(readable(name) for name in names[:_SHOWN]) + more


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link
        return False


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{dot}{suffix.lower()}" if stem else ""
