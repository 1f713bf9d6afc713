"""Lists of templates and of pairs of templates, in the form of IJB-B and IJB-C."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.listing import file_at, some_of
from facelab.data.source import readable
from facelab.errors import ConfigError, DataError

_KEY = "protocol.templates"
_MOST_BYTES = 1 << 31
_SCORE = 11  # the field after the name and ten coordinates of five landmarks


@dataclass(frozen=True)
class TemplateLists:
    """Templates of several images each, and the pairs of them to compare.

    Args:
        image: (E,) int64, index in the face set of the image of each entry.
        template: (E,) int64 in [0, T), the template it is in.
        media: (E,) int64, the media it is from, such as a video.
        weight: (E,) float32, its detector score; 1 without scores.
        first: (P,) int64 in [0, T), first template of each pair.
        second: (P,) int64 in [0, T), second template.
        genuine: (P,) whether both are of one person.
        people: (T,) int64, the person of each template, as far as genuine pairs tell: templates that they join.
    """

    image: Indices
    template: Indices
    media: Indices
    weight: NDArray[np.float32]
    first: Indices
    second: Indices
    genuine: NDArray[np.bool_]
    people: Indices


def read_templates(templates: str, pairs: str, scores: str | None, faces: FaceSet) -> TemplateLists:
    """Read the lists.

    Args:
        templates: file with a line `name template media` for each image of a template, such as
            `ijbc_face_tid_mid.txt`.
        pairs: file with a line `template template label` for each pair, label 1 for genuine and 0 for impostor pairs,
            such as `ijbc_template_pair_label.txt`.
        scores: file with a line `name x1 y1 ... x5 y5 score` for each image, such as `ijbc_name_5pts_score.txt`; None
            for none.
        faces: the set with the images, named as in these files, or so with folders before the name.

    Raises:
        ConfigError: the lists name images or templates that are not there, or contradict each other.
        DataError: a file is missing, or a line does not have this form.
    """
    form = "name template media"
    names = _read(templates, f"{_KEY}.templates", form, np.str_, [0])[:, 0].tolist()
    entries = _read(templates, f"{_KEY}.templates", form, np.int64, [1, 2])
    listed = _read(pairs, f"{_KEY}.pairs", "template template label", np.int64, [0, 1, 2])
    numbers, template = np.unique(entries[:, 0], return_inverse=True)
    first, second = (_places(listed[:, side], numbers) for side in (0, 1))
    if not np.isin(listed[:, 2], (0, 1)).all():
        raise ConfigError(f"{_KEY}.pairs={pairs}: labels must be 1 (genuine) or 0 (impostor). Correct the file.")
    genuine = listed[:, 2] == 1
    if not 0 < genuine.sum() < len(genuine):
        raise ConfigError(
            f"{_KEY}.pairs={pairs} needs genuine and impostor pairs, labels 1 and 0; it has one kind only."
        )
    image = _images(names, faces)
    weight = np.ones(len(names), np.float32) if scores is None else _weights(scores, names)
    people = _people(first, second, genuine, numbers)
    return TemplateLists(image, template, entries[:, 1], weight, first, second, genuine, people)


def _read(path: str, key: str, form: str, dtype: type[np.generic], columns: Sequence[int]) -> NDArray[Any]:
    """Some fields (lines, columns) of a text file whose lines have the given form."""
    file = file_at(path, key, f"a text file with lines `{form}`", _MOST_BYTES)
    where = f"{key}: {readable(str(file.absolute()))}"
    try:
        with warnings.catch_warnings():  # of empty lines, which are passed over, and of a file of nothing else
            warnings.simplefilter("ignore", UserWarning)
            found = np.loadtxt(file, dtype=dtype, comments=None, ndmin=2, encoding="utf-8", usecols=columns)
    except ValueError as error:
        raise DataError(f"{where} must have lines `{form}`: {error}. Correct the file.") from error
    except OSError as error:
        raise DataError(f"{where} could not be read ({error.strerror}); check its permissions and the disk.") from error
    if not len(found):
        raise DataError(f"{where} has empty lines only. Expected lines `{form}`.")
    return found


def _places(templates: Indices, numbers: Indices) -> Indices:
    """Place of each template of the pairs among the listed ones."""
    absent = np.setdiff1d(templates, numbers)
    if len(absent):
        raise ConfigError(
            f"{_KEY}.pairs: {len(absent):,} templates have no image in {_KEY}.templates: "
            f"{some_of([str(number) for number in absent])}. Correct the files."
        )
    return np.searchsorted(numbers, templates)


def _images(names: Sequence[str], faces: FaceSet) -> Indices:
    """Index of each name in the face set, whose own names may have folders before it."""
    depths = {name.count("/") + 1 for name in names}
    place_of: dict[str, int] = {}
    ambiguous: set[str] = set()
    for place, name in enumerate(faces.names):
        parts = name.split("/")
        for tail in {"/".join(parts[-depth:]) for depth in depths}:
            if place_of.setdefault(tail, place) != place:
                ambiguous.add(tail)
    absent = [name for name in dict.fromkeys(names) if name not in place_of]
    if absent:
        raise ConfigError(
            f"{_KEY}.templates: {len(absent):,} images are not in {faces.source}: {some_of(absent)}. Its images are "
            f"named like '{faces.names[0]}'. Add them, or delete the lines."
        )
    several = [name for name in dict.fromkeys(names) if name in ambiguous]
    if several:
        raise ConfigError(
            f"{_KEY}.templates: {len(several):,} images are in several folders of {faces.source}: {some_of(several)}. "
            "Write the folder before the name in the lists, or rename images."
        )
    return np.array([place_of[name] for name in names], np.int64)


def _weights(path: str, names: Sequence[str]) -> NDArray[np.float32]:
    form, key = "name x1 y1 ... x5 y5 score", f"{_KEY}.scores"
    scored = _read(path, key, form, np.str_, [0])[:, 0].tolist()
    score_of = dict(zip(scored, _read(path, key, form, np.float32, [_SCORE])[:, 0].tolist(), strict=True))
    absent = [name for name in dict.fromkeys(names) if name not in score_of]
    if absent:
        raise ConfigError(
            f"{key}={path} has no line for {len(absent):,} images of the templates: {some_of(absent)}. Add them, or "
            f"set {key}=null."
        )
    found = np.array([score_of[name] for name in names], np.float32)
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if len(wrong):
        raise ConfigError(
            f"{key}={path}: {len(wrong):,} scores of the templates' images are unusable, such as {found[wrong[0]]} of "
            f"{names[wrong[0]]}. Expected numbers of at least 0. Correct them, or set {key}=null."
        )
    return found


def _people(first: Indices, second: Indices, genuine: NDArray[np.bool_], numbers: Indices) -> Indices:
    """The connected components (T,) of the templates by genuine pairs."""
    edges = (np.ones(int(genuine.sum()), np.bool_), (first[genuine], second[genuine]))
    _, people = connected_components(coo_array(edges, shape=(len(numbers), len(numbers))), directed=False)
    wrong = np.flatnonzero(~genuine & (people[first] == people[second]))
    if len(wrong):
        one, other = numbers[first[wrong[0]]], numbers[second[wrong[0]]]
        raise ConfigError(
            f"{_KEY}.pairs: {len(wrong):,} pairs with label 0 are of one person by the pairs with label 1, such as "
            f"{one} and {other}. Correct the labels."
        )
    return np.asarray(people, np.int64)
