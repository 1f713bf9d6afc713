"""What was found in some photos, as one self-contained HTML file."""

from pathlib import Path

from facelab.compare.html import data_uri, render
from facelab.galleries.gallery import Gallery
from facelab.galleries.identification import Identified, Results, limit_in_words
from facelab.system import visible

MOST_FACES = 500
_MOST_PROBLEMS = 1000


def page(results: Results, gallery: Gallery, name: str, command: str) -> str:
    """Render the page: each face, the three nearest people and the decision.

    Args:
        results: of the photos; the pictures of the first `MOST_FACES` faces are shown.
        gallery: that was searched; somebody is enrolled.
        name: of the gallery.
        command: that was typed.
    """
    shown = results.faces[:MOST_FACES]
    problems = [(visible(photo), visible(problem)) for photo, problem in results.problems.items()]
    known = sum(face.is_known for face in results.faces)
    counts = f"{len(results.faces):,} faces: {known:,} identified, {len(results.faces) - known:,} nobody known."
    return render(
        Path(__file__).parent / "page.html",
        title=f"Faces searched in {visible(name)}",
        command=visible(command),
        summary=counts if results.faces else "No face could be judged.",
        limit=visible(limit_in_words(gallery)),
        searched=results.searched,
        threshold=_percent(gallery.threshold.score if gallery.threshold else 1),
        faces=[_shown(face, gallery) for face in shown],
        more=len(results.faces) - len(shown),
        problems=problems[:_MOST_PROBLEMS],
        more_problems=len(problems) - min(len(problems), _MOST_PROBLEMS),
    )


def _shown(face: Identified, gallery: Gallery) -> dict[str, object]:
    return {
        "photo": visible(face.photo),
        "number": face.number,
        "picture": data_uri("image/jpeg", face.picture),
        "known": face.is_known,
        "decision": visible(gallery.names[face.people[0]]) if face.is_known else "nobody known",
        "people": [
            {
                "name": visible(gallery.names[place]),
                "picture": data_uri("image/jpeg", gallery.thumbnails[place]),
                "score": f"{score:.3f}",
                "length": _percent(score),
                "accepted": face.is_known and place == face.people[0],
            }
            for place, score in zip(face.people, face.scores, strict=True)
        ],
    }


def _percent(score: float) -> float:
    """Place of a cosine on a bar from 0 to 1, in percent."""
    return round(100 * min(max(score, 0), 1), 1)
