"""Known faces, and the nearest of them to a new one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facelab.data.faces import IDENTITY
from facelab.demo.model import Codes, Pixels
from facelab.demo.training_images import TrainingImages
from facelab.errors import ConfigError, DataError
from facelab.galleries import Gallery
from facelab.galleries.gallery import FILE
from facelab.galleries.identification import limit_in_words
from facelab.protocols.backends import unit


@dataclass(frozen=True)
class Match:
    """A known person, or class, and how near a face is to it.

    Args:
        name: of the person.
        score: cosine similarity, in [-1, 1].
        picture: (H, W, C) of the face that is compared with.
        accepted: whether the score reaches the threshold; None without a threshold.
    """

    name: str
    score: float
    picture: Pixels
    accepted: bool | None = None


class Known(Protocol):
    """Faces to compare with."""

    @property
    def title(self) -> str:
        """What they are, for the page."""
        ...

    @property
    def rule(self) -> str:
        """When a face counts as somebody's, for the page."""
        ...

    def nearest(self, embeddings: Codes, count: int) -> Sequence[Sequence[Match]]:
        """The nearest people to each of N embeddings (N, D), at most `count` each, the nearest first."""
        ...


class TrainingFaces:
    """The faces that the model was trained on. A person is as near as the nearest of their images.

    Args:
        images: the N training images.
        embeddings: (N, D) of them.
    """

    rule = (
        "The score is the cosine similarity with the most similar image of a person, at most 1. No threshold is set, "
        "so strangers get a nearest person too."
    )

    def __init__(self, images: TrainingImages, embeddings: Codes) -> None:
        self._images, self._names = images, images.names
        self._embeddings = unit(embeddings)
        people = "people" if images.named == IDENTITY else f"classes of {images.named}"
        self.title = f"the {len(np.unique(self._names)):,} {people} of the run's {len(images):,} training images"

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


class EnrolledFaces:
    """The people of a gallery, read again when its file has changed: a person who was removed is not named any more.

    Args:
        folder: of the gallery.

    Raises:
        ConfigError: there is none, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._read = _state(self._folder), Gallery.open(folder)

    @property
    def gallery(self) -> Gallery:
        """The gallery as its file is now.

        Raises:
            DataError: it is gone or damaged, or was made anew for other embeddings.
        """
        state, gallery = _state(self._folder), self._read[1]
        if state != self._read[0]:
            try:
                new = Gallery.open(self._folder)
            except ConfigError as error:
                raise DataError(str(error)) from error
            if new.origin != gallery.origin:
                raise DataError(
                    f"gallery: {self._folder} was made anew with another model or cropping. Restart the demo."
                )
            self._read = state, new
        return self._read[1]

    @property
    def title(self) -> str:
        """See `Known.title`."""
        return f"the {len(self.gallery):,} people of the gallery {self._folder.name}"

    @property
    def rule(self) -> str:
        """See `Known.rule`."""
        gallery = self.gallery
        if gallery.threshold is None:
            return "Nobody is enrolled now, so every face is of nobody known."
        limit = limit_in_words(gallery)
        return f"The score is the cosine similarity, at most 1. Names are given by the gallery's {limit}."

    def nearest(self, embeddings: Codes, count: int) -> Sequence[Sequence[Match]]:
        """See `Known.nearest`."""
        gallery = self.gallery
        found = gallery.search(embeddings, count)
        return [
            [
                Match(gallery.names[person], score, gallery.thumbnail(person), gallery.accepts(score))
                for person, score in zip(people, scores, strict=True)
            ]
            for people, scores in zip(found.people.tolist(), found.scores.tolist(), strict=True)
        ]


def _state(folder: Path) -> tuple[int, int, int] | None:
    """What tells one state of a gallery's file from another; None if it is gone."""
    try:
        found = (folder / FILE).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
