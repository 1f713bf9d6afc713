"""Data source for folders of images whose names are the classes, optionally below train, val and test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facelab.data.faces import IDENTITY, PART
from facelab.data.images import SUFFIXES
from facelab.data.listing import Listing, folder_at, some_of
from facelab.data.parts import PARTS
from facelab.data.source import FaceSource, Rows, readable
from facelab.errors import DataError


@dataclass
class Folder(FaceSource):
    """A folder of folders of images: the path of an image's folder below the root is its class, usually the person.

    Format: `root/PERSON/image.jpg`, 8 bits per channel, grey or RGB, of any size, rotated upright by the EXIF tag.
    Folders may be nested: the class of `root/women/ada/1.jpg` is `women/ada`. Or `root/train/PERSON/image.jpg` and
    `root/test/...`, optionally `root/val/...`: the column `part` then holds the split of every image, for
    `split=official`. Folders and files are read in natural order (s2 before s10). Names that begin with a dot are
    ignored, as are files that are not images. A folder may hold images or folders, not both.

    Args:
        root: path of the folder.
    """

    root: str

    def rows(self) -> Rows:
        """List all images below the root."""
        root = folder_at(self.root, "data.root", "a folder with one subfolder per person")
        where = f"data.root: {readable(str(root.absolute()))}"
        listing = Listing(root)
        folders = listing.folders(root)
        if not folders:
            hint = " To take columns from file names, type data=pattern." if listing.has_images(root) else ""
            raise DataError(f"{where} holds no folders. Expected one subfolder per person.{hint}")
        tops = _parts_of(folders, listing) or {"": root}
        paths, classes, parts = [], [], []
        for part, top in tops.items():
            for folder, images in _classes(listing, top):
                name = folder.as_posix().removeprefix(f"{top.as_posix()}/")
                paths += images
                classes += [name] * len(images)
                parts += [part] * len(images)
        columns = {IDENTITY: classes, PART: parts} if "" not in tops else {IDENTITY: classes}
        nested = next((name for name in classes if "/" in name), None)
        notes = (
            [f"{where} holds folders in folders, so a class is the path of an image's folder, such as '{nested}'."]
            if nested
            else []
        )
        rows = Rows.of_files(readable(root.name), root, paths, columns)
        return replace(rows, problems=listing.problems, notes=notes)


def _classes(listing: Listing, top: Path) -> list[tuple[Path, list[Path]]]:
    """The folders below `top` that hold images, with these; others without subfolders are problems."""
    found = dict(listing.tree(top))
    with_folders = {folder.parent for folder in found if folder != top}
    classes = []
    for folder, images in found.items():
        shown = readable(str(folder))
        if folder == top:
            if images:
                listing.problems.append(
                    f"{shown} holds images beside folders: {some_of([path.name for path in images])}. Expected each "
                    "image in the folder of its class; move or delete these."
                )
        elif folder.parent != top and found[folder.parent]:
            listing.problems.append(
                f"{shown} is a folder beside images. Expected images or folders in a folder, not both: move its images "
                f"into {readable(folder.parent.name)} if they are of the same class, or else one folder up. To take "
                "columns from file names instead, type data=pattern."
            )
        elif images:
            classes.append((folder, images))
        elif folder not in with_folders:
            others = listing.others(folder)
            holds = f"{others} files of other kinds" if others else "nothing"
            listing.problems.append(
                f"{shown} holds no images: it holds {holds}. Add some ({', '.join(SUFFIXES)}), or delete the folder."
            )
    return classes


def _parts_of(folders: Sequence[Path], listing: Listing) -> dict[str, Path]:
    """Folders train, val and test by split name; empty if the folders are people."""
    named = [(folder, PARTS[folder.name.lower()]) for folder in folders if folder.name.lower() in PARTS]
    holds_folders = [folder for folder, _ in named if listing.folders(folder) and not listing.has_images(folder)]
    if len(holds_folders) < 2 or len(holds_folders) < len(named):
        return {}
    parts = dict(zip((part for _, part in named), holds_folders, strict=True))
    others = [readable(folder.name) for folder in folders if folder not in holds_folders]
    if others or len(parts) < len(named):
        raise DataError(
            f"data.root: {readable(str(listing.inside))} holds {', '.join(folder.name for folder in holds_folders)}, "
            f"each with subfolders{', beside ' + ', '.join(others[:5]) if others else ''}. Expected one folder train, "
            "one test, at most one val (or validation), and no others. Rename or move the rest, or set data.root to "
            f"one of them, such as data.root={readable(str(holds_folders[0]))}."
        )
    # A fixed order, so that training classes come first.
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}
