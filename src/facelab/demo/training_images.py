"""The images that a finished run was trained on, loaded again from its config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.image_list import ImageList
from facelab.data.recorded import recorded_faces
from facelab.errors import DataError


@dataclass(frozen=True)
class TrainingImages:
    """The images a run was trained on.

    Args:
        faces: the face set of the run.
        indices: (N,) of the images in it.
    """

    faces: FaceSet
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)

    @classmethod
    def of(cls, config: Mapping[str, Any], used: ImageList | None) -> "TrainingImages":
        """Load them.

        Args:
            config: of the run.
            used: the list of its images, which they are compared with; None if it recorded none.

        Raises:
            ConfigError: the config has no data or split, or names what this version of facelab does not have.
            DataError: the images are not where they were, have changed, or are unusable.
        """
        faces, splits = recorded_faces(config)
        if not len(splits.train):
            raise DataError("the run's split has no training images.")
        if used is not None and {bytes.fromhex(faces.digests[i]) for i in splits.train} != used.digests("train"):
            raise DataError(
                f"its data have changed: {faces.source} gives other training images than the run recorded. Restore "
                "them."
            )
        return cls(faces, splits.train)

    def pixels(self, places: Indices) -> NDArray[np.uint8]:
        """The images (M, H, W, C) uint8 at some places in [0, N)."""
        return np.stack([self.faces.pixels[int(i)] for i in self.indices[places]])

    def spread(self, most: int) -> Indices:
        """At most so many places in [0, N), evenly spaced."""
        return np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))

    @property
    def named(self) -> str:
        """What the model was trained to tell apart, such as `identity`."""
        return self.faces.label

    @property
    def names(self) -> NDArray[np.object_]:
        """(N,) the label of each image, as text."""
        return self.faces.columns[self.faces.label].texts[self.indices]
