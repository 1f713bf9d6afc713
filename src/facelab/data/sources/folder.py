"""Data source for a folder with one subfolder per class, optionally below train, val and test."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facelab.data.images import OTHER_SUFFIXES, SUFFIXES
from facelab.data.source import FaceSource, Rows, natural_order, readable
from facelab.errors import DataError

_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SYSTEM_NAMES = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "Thumbs.db"}


@dataclass
class Folder(FaceSource):
    """A folder with one subfolder of images per person; the subfolder names are the classes.

    Format: `root/PERSON/image.jpg`, 8 bits per channel, grey or RGB, of any size, rotated upright by the EXIF tag. Or
    `root/train/PERSON/image.jpg` and `root/test/...`, optionally `root/val/...`: the column `part` then holds the split
    of every image, for `split=official`. Folders and files are read in natural order (s2 before s10). Names that begin
    with a dot are ignored, as are files that are not images.

    Args:
        root: path of the folder.
    """

    root: str

    def rows(self) -> Rows:
        """List all images below the root."""
        root = Path(self.root)
        where = f"data.root: {readable(str(root.absolute()))}"
        if not root.is_dir():
            raise DataError(
                f"{where} is not a folder. Expected a folder with one subfolder per person. "
                "Hydra does not expand ~; type $HOME/... instead."
            )
        scan = _Scan(root)
        folders = scan.folders(root)
        if not folders:
            raise DataError(f"{where} holds no folders. Expected one subfolder per person.")
        parts = _parts_of(folders, scan)
        inner = [folder for part in parts.values() for folder in scan.folders(part)]
        files = scan.classes(inner if parts else folders)
        paths = [path for of_class in files.values() for path in of_class]
        columns = {"identity": [path.parent.name for path in paths]}
        if parts:
            part_of = {folder.name: part for part, folder in parts.items()}
            columns["part"] = [part_of[path.parts[len(root.parts)]] for path in paths]
        return replace(Rows.of_files(readable(root.name), root, paths, columns), problems=scan.problems)


class _Scan:
    """Lists folders and images, and collects problems with them.

    Args:
        root: symbolic links must not lead out of this folder.
    """

    def __init__(self, root: Path) -> None:
        self.inside = root.resolve()
        self.problems: list[str] = []

    def folders(self, folder: Path) -> list[Path]:
        """Subfolders of a folder, in natural order."""
        return [folder / entry.name for entry in self._entries(folder) if entry.is_dir() and self._is_inside(entry)]

    def classes(self, folders: Sequence[Path]) -> dict[str, list[Path]]:
        """Images by folder name; a folder without images is a problem."""
        files: dict[str, list[Path]] = {}
        for folder in folders:
            found = self._images(folder)
            files.setdefault(folder.name, []).extend(found)
            if not found:
                self.problems.append(f"{readable(str(folder))} holds no images: {self._seen(folder)}")
        return files

    def has_images(self, folder: Path) -> bool:
        """Whether a folder directly holds images."""
        return any(_suffix(entry.name) in SUFFIXES for entry in self._entries(folder))

    def _images(self, folder: Path) -> list[Path]:
        found = []
        for entry in self._entries(folder):
            suffix = _suffix(entry.name)
            if suffix in OTHER_SUFFIXES:
                self.problems.append(
                    f"{readable(entry.path)} has an unsupported format ({suffix}); convert it to PNG or JPEG."
                )
            elif suffix in SUFFIXES and self._is_inside(entry):
                found.append(folder / entry.name)
        return found

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                seen = [e for e in entries if not e.name.startswith(".") and e.name not in SYSTEM_NAMES]
        except PermissionError as error:
            raise DataError(f"{readable(str(folder))} is not readable; change its permissions.") from error
        return sorted(seen, key=lambda entry: natural_order(entry.name))

    def _is_inside(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink():
            return True
        try:
            if Path(entry.path).resolve(strict=True).is_relative_to(self.inside):
                return True
        except (OSError, RuntimeError):  # broken or circular link
            pass
        self.problems.append(
            f"{readable(entry.path)} is a symbolic link out of {readable(str(self.inside))}, or a broken one; replace "
            "it by its target (cp -rL copies a folder that way)."
        )
        return False

    def _seen(self, folder: Path) -> str:
        """Describe the contents of a folder without images, and the fix."""
        entries = self._entries(folder)
        inner = [readable(entry.name) for entry in entries if entry.is_dir()]
        if inner:
            shown = ", ".join(inner[:3]) + (", ..." if len(inner) > 3 else "")
            return (
                f"it holds {len(inner)} folders ({shown}). Expected ROOT/PERSON/IMAGE, or ROOT/train/PERSON/IMAGE and "
                "ROOT/test/PERSON/IMAGE with split=official. Set data.root to the folder of the people, such as "
                f"data.root={readable(str(folder))}."
            )
        others = f"{len(entries)} files of other kinds" if entries else "nothing"
        return f"it holds {others}. Add some ({', '.join(SUFFIXES)}), or delete the folder."


def _parts_of(folders: Sequence[Path], scan: _Scan) -> dict[str, Path]:
    """Folders train, val and test by split name; empty if the folders are people."""
    named = [(folder, _PARTS[folder.name.lower()]) for folder in folders if folder.name.lower() in _PARTS]
    holds_folders = [folder for folder, _ in named if scan.folders(folder) and not scan.has_images(folder)]
    if len(holds_folders) < 2 or len(holds_folders) < len(named):
        return {}
    parts = dict(zip((part for _, part in named), holds_folders, strict=True))
    others = [readable(folder.name) for folder in folders if folder not in holds_folders]
    if others or len(parts) < len(named):
        raise DataError(
            f"data.root: {readable(str(scan.inside))} holds {', '.join(folder.name for folder in holds_folders)}, each "
            f"with subfolders{', beside ' + ', '.join(others[:5]) if others else ''}. Expected one folder train, one "
            "test, at most one val (or validation), and no others. Rename or move the rest, or set data.root to one of "
            f"them, such as data.root={readable(str(holds_folders[0]))}."
        )
    # A fixed order, so that training classes come first.
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{dot}{suffix.lower()}" if stem else ""
