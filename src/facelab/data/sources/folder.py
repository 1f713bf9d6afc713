"""A folder of folders, one for each class."""

from pathlib import Path

from facelab.data.faces import Channels, FaceSet, FaceSource, ImageSize, from_files, natural_order
from facelab.data.images import SUFFIXES
from facelab.errors import DataError


class Folder(FaceSource):
    """A folder of folders, one for each person; their names are the classes.

    Format: `root/PERSON/picture.jpg`, 8 bits a channel, grey or RGB, of any size. Folders and files are read in natural
    order (s2 before s10); those whose names begin with a dot are passed over.

    Args:
        root: the folder.
        image_size: side of the square the pictures are resized to, in pixels.
        channels: 1 for grey, 3 for RGB.
    """

    def __init__(self, root: str, image_size: ImageSize = 64, channels: Channels = 3) -> None:
        self.root, self.image_size, self.channels = Path(root), image_size, channels

    def load(self) -> FaceSet:
        """Every picture below the root."""
        if not self.root.is_dir():
            raise DataError(
                f"data.root: {self.root.absolute()} is not a folder. Expected one folder a person in it. "
                "Hydra does not expand ~; write $HOME/... instead."
            )
        try:
            folders = sorted((p for p in self.root.iterdir() if p.is_dir() and _visible(p)), key=natural_order)
        except PermissionError as error:
            raise DataError(f"data.root: {self.root.absolute()} may not be read; change its permissions.") from error
        if not folders:
            raise DataError(f"data.root: {self.root.absolute()} holds no folders. Expected one folder a person in it.")
        files = {folder.name: _images(folder) for folder in folders}
        return from_files(self.root.name, str(self.root.absolute()), files, self.root, self.image_size, self.channels)


def _images(folder: Path) -> list[Path]:
    """The pictures of one person."""
    try:
        files = sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and _visible(p)), key=natural_order)
    except PermissionError as error:
        raise DataError(f"{folder} may not be read; change its permissions.") from error
    if not files:
        raise DataError(f"{folder} holds no images ({', '.join(SUFFIXES)}). Add some or delete the folder.")
    return files


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")
