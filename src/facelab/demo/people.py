"""Known faces, and the nearest of them to a new one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facelab.demo.model import Codes, Pixels
from facelab.demo.training_images import TrainingImages


@dataclass(frozen=True)
class Match:
    """A known person, or class, and how near a face is to it.

    Args:
        name: of the person.
        score: cosine similarity, in [-1, 1].
        picture: (H, W, C) of the face that is compared with; None if it is not kept.
    """

    name: str
    score: float
    picture: Pixels | None = None


class Known(Protocol):
    """Faces to compare with.

    Attributes:
        title: what they are, for the page.
        kind: what their names are, such as `identity`.
    """

    title: str
    kind: str

    def nearest(self, embeddings: Codes, count: int) -> Sequence[Sequence[Match]]:
        """The nearest people to each of N embeddings (N, D), at most `count` each, the nearest first."""
        ...


class TrainingFaces:
    """The faces that the model was trained on. A person is as near as the nearest of their images.

    Args:
        images: the N training images.
        embeddings: (N, D) of them.
    """

    def __init__(self, images: TrainingImages, embeddings: Codes) -> None:
        self._images, self._names = images, images.names
        self._embeddings = unit(embeddings)
        self.kind = images.named
        people = "people" if self.kind == "identity" else f"classes of {self.kind}"
        self.title = f"{len(np.unique(self._names)):,} {people} of {len(images):,} training images"

    def nearest(self, embeddings: Codes, count: int) -> Sequence[Sequence[Match]]:
        """See `Known.nearest`."""
        return [self._nearest(row, count) for row in unit(embeddings) @ self._embeddings.T]

    def _nearest(self, scores: NDArray[np.float32], count: int) -> Sequence[Match]:
        matches: dict[str, Match] = {}
        for place in np.argsort(-scores, kind="stable"):
            name = str(self._names[place])
            if name not in matches:
                matches[name] = Match(name, float(scores[place]), self._images.pixels(place[None])[0])
            if len(matches) == count:
                break
        return list(matches.values())


def unit(embeddings: Codes) -> Codes:
    """Embeddings (N, D) at length 1; zeros stay."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    scaled: Codes = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled
