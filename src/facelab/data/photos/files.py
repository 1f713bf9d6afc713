"""List the photos below a folder, and name the aligned faces after them."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from facelab.data.images import OTHER_SUFFIXES, SUFFIXES
from facelab.data.listing import SYSTEM_NAMES
from facelab.data.source import natural_order

_FURTHER_FACE = re.compile(r"\.face\d+$")


@dataclass
class Listing:
    """Photos below a folder, in natural order (img2 before img10), by paths relative to it.

    Args:
        photos: the photos.
        problems: files and folders that are left out, with the reason and the remedy as a sentence without subject.
    """

    photos: list[PurePath] = field(default_factory=list)
    problems: dict[PurePath, str] = field(default_factory=dict)


def list_photos(source: Path) -> Listing:
    """List the photos below a folder.

    Hidden files, files of operating systems such as `Thumbs.db`, and files that are not images are passed over. Links
    to photos are followed within the folder; links to folders are not followed.
    """
    listing, inside = Listing(), source.resolve()

    def unreadable(error: OSError) -> None:
        folder = Path(str(error.filename)).relative_to(source)
        listing.problems[folder] = f"is not readable ({error.strerror}); change its permissions"

    for name, folders, files in os.walk(source, onerror=unreadable):
        here = Path(name)
        folders[:] = sorted(filter(_is_ours, folders), key=natural_order)
        for folder in folders:
            if (here / folder).is_symlink():
                listing.problems[(here / folder).relative_to(source)] = (
                    "is a link to a folder, which is not followed; replace it by the folder (cp -rL)"
                )
        for file in sorted(filter(_is_ours, files), key=natural_order):
            path, suffix = here / file, PurePath(file).suffix.lower()
            if suffix in OTHER_SUFFIXES:
                problem = f"has an unsupported format ({suffix}); convert it to PNG or JPEG"
            elif suffix in SUFFIXES:
                problem = _problem_of_link(path, inside)
            else:
                continue
            if problem:
                listing.problems[path.relative_to(source)] = problem
            else:
                listing.photos.append(path.relative_to(source))
    return listing


def names_of_faces(photos: Sequence[PurePath]) -> Mapping[PurePath, PurePath]:
    """Path, without suffix, of the files of each photo's faces: that of the photo.

    Where this would give two photos one name, as for `a.jpg` and `a.png`, they keep their suffixes: `a.jpg.png`.
    """
    names = {photo: photo if _FURTHER_FACE.search(photo.stem) else photo.with_suffix("") for photo in photos}
    while True:
        uses = Counter(str(name).casefold() for name in names.values())
        shared = [photo for photo, name in names.items() if name != photo and uses[str(name).casefold()] > 1]
        if not shared:
            return names
        names.update((photo, photo) for photo in shared)


def file_of_face(name: PurePath, face: int) -> PurePath:
    """File of one face of a photo.

    Args:
        name: of `names_of_faces`.
        face: 1 for the largest face, whose file is `name.png`; the second one's is `name.face2.png`.
    """
    return name.with_name(f"{name.name}.png" if face == 1 else f"{name.name}.face{face}.png")


def _is_ours(name: str) -> bool:
    return not name.startswith(".") and name not in SYSTEM_NAMES


def _problem_of_link(path: Path, inside: Path) -> str:
    if not path.is_symlink():
        return ""
    try:
        if path.resolve(strict=True).is_relative_to(inside):
            return ""
    except (OSError, RuntimeError):  # broken or circular
        pass
    return "is a symbolic link out of the folder, or a broken one; replace it by its target (cp -L)"
