"""Identify the faces of photos: the nearest enrolled people, and whether the nearest is accepted."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facelab.galleries.faces import Face, Reading, embedded
from facelab.galleries.gallery import Gallery
from facelab.galleries.recogniser import Recogniser
from facelab.galleries.search import Nearest
from facelab.system import visible

SHOWN_PEOPLE = 3
Search = Callable[[NDArray[np.float32], int], Nearest]
_QUALITY = 85
_HEADER = (
    *("photo", "face", "left", "top", "right", "bottom", "decision", "person", "threshold", "fpir"),
    *(f"{what}_{rank}" for rank in range(1, SHOWN_PEOPLE + 1) for what in ("nearest", "score")),
    "problem",
)


@dataclass(frozen=True)
class Identified:
    """A face, and the enrolled people it is most similar to.

    Args:
        photo: name of the image.
        number: of the face in the photo, from 1 for the largest.
        box: left, top, right, bottom in the photo, in pixels; None if it was aligned already.
        picture: a JPEG of the face; empty beyond the number that is kept.
        people: places in the gallery of the nearest people, the best first.
        scores: cosine of each.
        is_known: whether the first of them is accepted.
    """

    photo: str
    number: int
    box: tuple[int, int, int, int] | None
    picture: bytes
    people: Sequence[int]
    scores: Sequence[float]
    is_known: bool


@dataclass
class Results:
    """What was found in some photos.

    Attributes:
        faces: of all photos, in their order.
        problems: why a photo has no face, by its name; sentences without their subject.
        searched: how an index searched, in sentences; empty if none was asked for.
    """

    faces: list[Identified] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    searched: str = ""


def identify(
    gallery: Gallery,
    recogniser: Recogniser,
    readings: Iterable[tuple[str, Reading]],
    pictures: int,
    search: Search,
) -> Results:
    """Search the gallery with every face.

    Args:
        gallery: of people.
        recogniser: with the weights that made the gallery.
        readings: name and faces of each photo.
        pictures: number of faces whose pictures are kept.
        search: finds the nearest people, as `Gallery.search` does.
    """
    results = Results()

    def faces() -> Iterator[tuple[tuple[str, int], Face]]:
        for photo, reading in readings:
            if reading.problem:
                results.problems[photo] = reading.problem
            yield from (((photo, i + 1), face) for i, face in enumerate(reading.faces))

    for batch, embeddings in embedded(faces(), recogniser):
        found = search(embeddings, SHOWN_PEOPLE)  # at once: each search reads the whole gallery
        nearest = zip(found.people.tolist(), found.scores.tolist(), strict=True)
        for ((photo, number), face), (people, scores) in zip(batch, nearest, strict=True):
            picture = _jpeg(face) if len(results.faces) < pictures else b""
            known = bool(scores) and gallery.accepts(scores[0])
            results.faces.append(Identified(photo, number, face.box, picture, people, scores, known))
    return results


def as_csv(results: Results, gallery: Gallery) -> str:
    """The results as CSV, a row for each face and for each photo without one.

    Names have escapes for control characters, and an apostrophe before =, +, - or @ at their beginning, at which
    spreadsheets would compute a formula.
    """
    assert gallery.threshold is not None, "nobody is enrolled"
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    limit = (f"{gallery.threshold.score:.6f}", f"{gallery.threshold.fpir:.6g}")
    for face in results.faces:
        person = _cell(gallery.names[face.people[0]]) if face.is_known else ""
        pairs = [
            (_cell(gallery.names[place]), f"{score:.6f}") for place, score in zip(face.people, face.scores, strict=True)
        ]
        pairs += [("", "")] * (SHOWN_PEOPLE - len(pairs))
        decision = "identified" if face.is_known else "nobody known"
        nearest = [value for pair in pairs for value in pair]
        box = face.box or [""] * 4
        writer.writerow((_cell(face.photo), face.number, *box, decision, person, *limit, *nearest, ""))
    for photo, problem in results.problems.items():
        writer.writerow((_cell(photo), *[""] * 5, "not judged", *[""] * (len(_HEADER) - 8), _cell(problem)))
    return text.getvalue()


def _cell(text: str) -> str:
    return f"'{visible(text)}" if text.startswith(("=", "+", "-", "@")) else visible(text)


def limit_in_words(gallery: Gallery) -> str:
    """The threshold, and the FPIR and the searches that it was set by."""
    limit = gallery.threshold
    if limit is None:
        return "nobody is enrolled, so there is no threshold"
    return (
        f"threshold {limit.score:.3f}, at which {limit.fpir:.2%} of {limit.searches:,} searches of {limit.people:,} "
        f"people who are not enrolled ({gallery.development.source}) return somebody among the {limit.enrolled:,} "
        f"enrolled (FPIR; at most {limit.target:g} was asked for)"
    )


def _jpeg(face: Face) -> bytes:
    written = io.BytesIO()
    face.picture.convert("RGB").save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()
