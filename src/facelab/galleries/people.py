"""Folders of people: a folder a person, with one or more images."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelab.data.images import refuse
from facelab.data.listing import Listing, some_of
from facelab.data.photos.workers import in_order
from facelab.data.source import readable
from facelab.errors import ConfigError, DataError
from facelab.galleries.faces import Face, FaceReader, Reading, embedded
from facelab.galleries.names import normalised, problem_of
from facelab.galleries.recogniser import Recogniser
from facelab.galleries.thumbnails import as_thumbnail
from facelab.system import check_path

Folders = dict[str, list[Path]]  # images of each person, by name
Advance = Callable[[], None]


@dataclass
class Portraits:
    """Faces of people, one of each usable image.

    Attributes:
        names: of the people who have a usable image, in their order.
        owners: of each face, index into `names`.
        embeddings: of each face, (D,) float32.
        digests: of each face, SHA-256 of its pixels.
        thumbnails: of the first face of each person.
        problems: why an image could not be used, a sentence each.
    """

    names: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    thumbnails: list[bytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def list_people(source: str, key: str) -> Folders:
    """The image files of each person, by the name of the person's folder in Unicode's composed form.

    Args:
        source: folder with a folder for each person, which may have folders in it.
        key: of the config, for messages.

    Raises:
        ConfigError: it is not a folder.
        DataError: it holds no such folders, images beside them, entries that cannot be used, or folders whose names a
            gallery cannot keep or which are equal in the composed form.
    """
    root = Path(source)
    expected = "Expected a folder with a folder for each person, such as people/ada/1.jpg"
    check_path(key, root)
    if not root.is_dir():
        home = " Hydra does not expand ~; type $HOME/... instead." if source.startswith("~") else ""
        raise ConfigError(f"{key}: {readable(str(root.absolute()))} is not a folder. {expected}.{home}")
    listing = Listing(root)
    if listing.has_images(root):
        raise DataError(
            f"{key}: {readable(str(root.absolute()))} holds images beside folders, so whose they are is unknown. "
            f"{expected}; move the images into these."
        )
    people: Folders = {}
    for name, folder in _named(listing, key).items():
        people[name] = [image for _, images in listing.tree(folder) for image in images]
    without = [name for name, images in people.items() if not images]
    if without:
        listing.problems.append(
            f"{key}: {len(without):,} folders of people hold no images: {some_of(without)}. Add some, or delete them."
        )
    refuse(listing.problems)
    if not people:
        raise DataError(f"{key}: {readable(str(root.absolute()))} holds no folders. {expected}.")
    return people


def _named(listing: Listing, key: str) -> dict[str, Path]:
    """The folders of people by name; those whose names cannot be used are added to the problems of the listing."""
    found: dict[str, Path] = {}
    for folder in listing.folders(listing.root):
        name = normalised(readable(folder.name))
        where, problem = readable(str(folder)), problem_of(name)
        if problem:
            listing.problems.append(f"{key}: the name of the folder '{where}' {problem}. Rename it.")
        if name in found:
            listing.problems.append(
                f"{key}: the folders '{readable(str(found[name]))}' and '{where}' have the same name, written in two "
                "forms of Unicode. Move the images into one of them, or rename one."
            )
        found.setdefault(name, folder)
    return found


def portraits(people: Folders, reader: FaceReader, recogniser: Recogniser, advance: Advance) -> Portraits:
    """Embed the face on each image; an image with several faces is not used.

    Args:
        people: images of each person.
        reader: finds the faces.
        recogniser: embeds them.
        advance: called after each image.

    Raises:
        DataError: the model gives no finite embedding.
    """
    found = Portraits()
    images = [(name, path) for name, paths in people.items() for path in paths]

    def faces() -> Iterator[tuple[str, Face]]:
        readings = in_order(images, lambda image: reader.read(image[1]))
        with closing(readings):
            for (name, path), reading in readings:
                advance()
                if len(reading.faces) == 1:
                    yield name, reading.faces[0]
                else:
                    found.problems.append(f"{readable(str(path))} {_problem(reading)}.")

    for batch, embeddings in embedded(faces(), recogniser):
        for (name, face), embedding in zip(batch, embeddings, strict=True):
            add(found, name, face, embedding)
    return found


def add(found: Portraits, name: str, face: Face, embedding: NDArray[np.float32]) -> None:
    """Add a face; those of a person follow each other.

    Raises:
        DataError: the embedding is not finite.
    """
    if not np.isfinite(embedding).all():
        raise DataError(f"the model gives no finite embedding of {name}. Train it again, or choose another run.")
    if not found.names or found.names[-1] != name:
        found.names.append(name)
        found.thumbnails.append(as_thumbnail(face.picture))
    found.owners.append(len(found.names) - 1)
    found.embeddings.append(embedding)
    found.digests.append(face.digest)


def _problem(reading: Reading) -> str:
    if reading.problem:
        return reading.problem
    return f"shows {len(reading.faces)} faces, and whose to use is unknown; crop it to the person"


def stacked(embeddings: Sequence[NDArray[np.float32]], dim: int) -> NDArray[np.float32]:
    """(N, D) of N embeddings (D,); (0, dim) of none."""
    return np.stack(embeddings) if embeddings else np.empty((0, dim), np.float32)
