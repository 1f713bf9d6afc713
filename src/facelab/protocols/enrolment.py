"""Enrolments for identification: which images are in the gallery, and which are searched with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.listing import place_of_name, some_of
from facelab.data.tables import read_table
from facelab.errors import ConfigError

GALLERY, PROBE = "gallery", "probe"
_NAME, _ROLE = "name", "role"


@dataclass(frozen=True)
class Enrolment:
    """The images of a gallery and of the searches, by their places among the N images of a split.

    Args:
        people: (G,) int64, the identities that are enrolled, ascending.
        gallery: places of the enrolled images.
        mated: places of the probes of enrolled people.
        non_mated: places of the probes of people who are not enrolled.
    """

    people: Indices
    gallery: Indices
    mated: Indices
    non_mated: Indices


def draw_enrolment(identities: Indices, enrolled: int, unenrolled_share: float, seed: int) -> Enrolment:
    """Draw the people who are not enrolled, and the enrolled images of all others, whose other images are probes.

    A person with no more images than `enrolled` is enrolled with all of them and not searched for.

    Args:
        identities: (N,) of the images.
        enrolled: images of each person to enrol, at least 1.
        unenrolled_share: share of the people who are not enrolled, in [0, 1); rounded to whole people.
        seed: of the draw.
    """
    people, person, counts = np.unique(identities, return_inverse=True, return_counts=True)
    random = np.random.default_rng(seed)
    is_enrolled = np.ones(len(people), np.bool_)
    is_enrolled[random.permutation(len(people))[: round(unenrolled_share * len(people))]] = False
    order = np.lexsort((random.permutation(len(person)), person))
    place = np.empty(len(person), np.int64)
    place[order] = np.arange(len(person)) - np.repeat(np.cumsum(counts) - counts, counts)
    in_gallery = is_enrolled[person] & (place < enrolled)
    return _enrolment(identities, in_gallery, ~in_gallery)


def enrolment_by_role(identities: Indices, roles: NDArray[np.object_]) -> Enrolment:
    """Enrol the images with the role `gallery` and search with those of the role `probe`.

    Args:
        identities: (N,) of the images.
        roles: (N,) texts; images with any other text are not used.
    """
    return _enrolment(identities, roles == GALLERY, roles == PROBE)


def _enrolment(identities: Indices, in_gallery: NDArray[np.bool_], is_probe: NDArray[np.bool_]) -> Enrolment:
    people = np.unique(identities[in_gallery])
    mated = np.isin(identities, people)
    gallery, probes, strangers = (np.flatnonzero(of) for of in (in_gallery, is_probe & mated, is_probe & ~mated))
    return Enrolment(people, gallery, probes, strangers)


def read_roles(roles: str, faces: FaceSet, key: str) -> NDArray[np.object_]:
    """The role (N,) of each image of a face set; empty for images without one.

    Args:
        roles: a column of the face set, or the path of a CSV or Parquet file with the columns `name` and `role`.
        faces: the face set.
        key: the config key, for messages.

    Raises:
        ConfigError: it is neither, or the file names images that the set does not have, or an image twice.
        DataError: the file is unusable.
    """
    if roles in faces.columns:
        return faces.columns[roles].texts
    if not roles.lower().endswith((".csv", ".parquet")):
        raise ConfigError(
            f"{key}={roles}: {faces.source} has no such column, and files end in .csv or .parquet. Columns: "
            f"{', '.join(sorted(faces.columns))}."
        )
    table = read_table(roles, key, _NAME)
    if not {_NAME, _ROLE} <= table.keys():
        raise ConfigError(
            f"{key}={roles} must have the columns name (of an image, with or without its suffix) and role (gallery or "
            f"probe); it has {', '.join(table)}."
        )
    places = _places(table[_NAME], faces, f"{key}={roles}")
    found = np.full(len(faces), "", dtype=object)
    found[places] = table[_ROLE]
    return found


def _places(names: Sequence[str], faces: FaceSet, where: str) -> Indices:
    """Index of each name in the face set."""
    place_of = place_of_name(faces.names)
    absent = [name for name in names if name not in place_of]
    if absent:
        loaded = {} if faces.loaded is None else place_of_name(faces.loaded.names)
        dropped = sum(name in loaded for name in absent)
        why = f", {dropped:,} of them because the split leaves them out" if dropped else ""
        raise ConfigError(
            f"{where}: {len(absent):,} of {len(names):,} images are not in {faces.source}{why}: {some_of(absent)}. "
            f"Its images are named like '{faces.names[0]}'. Correct the names, or delete the rows."
        )
    places = np.array([place_of[name] for name in names], np.int64)
    repeated = np.flatnonzero(np.bincount(places, minlength=1) > 1)
    if len(repeated):
        raise ConfigError(
            f"{where}: {len(repeated):,} images have several rows: {some_of([faces.names[int(i)] for i in repeated])}. "
            "Keep one row for each image."
        )
    return places
