"""The demo's server: its page, and what the page asks of the model, as JSON."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, FiniteFloat
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from facelab.compare.html import data_uri
from facelab.data.images import picture
from facelab.demo.guard import MIB, Guard, Turns
from facelab.demo.model import Codes, Pixels, between
from facelab.demo.photos import Face, Photo
from facelab.demo.subject import Subject
from facelab.errors import DataError
from facelab.models.base import Generative

MOST_PHOTO_BYTES = 20 * MIB
MOST_OTHER_BYTES = MIB // 4
_MOST_REQUESTS = 8
_NEAREST = 3
_FILES = {"/": ("index.html", "text/html"), "/style.css": ("style.css", "text/css")} | {
    f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("main", "photos", "latents", "samples", "page")
}

Code = Annotated[list[FiniteFloat], Field(min_length=1, max_length=8192)]
Steps = Annotated[int, Field(ge=2, le=32)]


class Moved(BaseModel):
    """An embedding, and where to move it along the axes, in standard deviations."""

    code: Code
    coordinates: Annotated[list[FiniteFloat], Field(max_length=64)]


class Pair(BaseModel):
    """Two embeddings to go between."""

    first: Code
    second: Code
    steps: Steps = 13


class Drawing(BaseModel):
    """New faces: of which seed, how far from the mean (psi), and of whom, for a conditional model."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    psi: Annotated[float, Field(ge=0, le=2)] = 1.0
    label: Annotated[int, Field(ge=0)] | None = None


class Samples(Drawing):
    """Several new faces of a seed."""

    count: Annotated[int, Field(ge=1, le=64)] = 12


class Line(Drawing):
    """A line between the latents of two new faces of a seed, numbered from 0; it keeps the label of the first."""

    first: Annotated[int, Field(ge=0, lt=64)]
    second: Annotated[int, Field(ge=0, lt=64)]
    steps: Steps = 13


def make_app(subject: Subject) -> ASGIApp:
    """The application, with its guard.

    Args:
        subject: the run to show.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    turns = Turns(_MOST_REQUESTS)
    _add_page(app, subject)
    if subject.photos is not None:
        _add_photos(app, subject, turns)
    if subject.axes is not None:
        _add_latents(app, subject, turns)
    if isinstance(subject.model.module, Generative):
        _add_samples(app, subject, turns)
    _add_errors(app)
    return Guard(app, lambda path: MOST_PHOTO_BYTES if path == "/api/photo" else MOST_OTHER_BYTES)


def _add_page(app: FastAPI, subject: Subject) -> None:
    """Files are read once, so no path of a request is ever looked up."""
    folder = Path(__file__).parent / "page"

    def add(path: str, content: bytes, kind: str) -> None:
        app.add_api_route(path, lambda: Response(content, media_type=kind), methods=["GET"])

    for path, (name, kind) in _FILES.items():
        add(path, (folder / name).read_bytes(), kind)

    described = _described(subject)

    @app.get("/api/run")
    async def run() -> dict[str, Any]:
        known = subject.known  # its gallery may have changed
        return {**described, "known": None if known is None else {"title": known.title, "rule": known.rule}}


def _described(subject: Subject) -> dict[str, Any]:
    model, photos, axes = subject.model, subject.photos, subject.axes
    described: dict[str, Any] = {
        "run": subject.run,
        "model": type(model.module).__name__,
        "image": list(model.metadata.image_shape),
        "most_bytes": MOST_PHOTO_BYTES,
        "photos": None if photos is None else {"finds_faces": photos.finds_faces, "least_pixels": photos.least_pixels},
        "axes": None,
        "samples": None,
    }
    if axes is not None:
        mean = {"code": axes.mean.tolist(), "coordinates": [0.0] * len(axes)}
        picture = _png(model.decode(axes.mean[None])[0])
        described["axes"] = {"shares": axes.shares.tolist(), "mean": {**mean, "picture": picture}}
    if isinstance(model.module, Generative):
        described["samples"] = {"labels": list(model.metadata.label_names) if model.module.num_labels else []}
    return described


def _add_photos(app: FastAPI, subject: Subject, turns: Turns) -> None:
    @app.post("/api/photo")
    async def photo(request: Request, cropped: bool = False) -> dict[str, Any]:
        async with turns.turn():
            content = bytearray()
            async for part in request.stream():
                content += part
            return await turns.run(lambda: _photo(subject, bytes(content), cropped))


def _photo(subject: Subject, content: bytes, is_cropped: bool) -> dict[str, Any]:
    """What a photo shows: its faces, and what the model makes of them."""
    assert subject.photos is not None
    photo = subject.photos.read(content, is_cropped)
    outputs = _outputs(subject, np.stack([face.crop for face in photo.faces])) if photo.faces else []
    return {
        "picture": _jpeg(photo.shown),
        "note": _note(photo, subject.photos.least_pixels),
        "faces": [{**_face(face), **output} for face, output in zip(photo.faces, outputs, strict=True)],
    }


def _note(photo: Photo, least: int) -> str:
    if photo.left_out:
        return f"{photo.left_out} smaller faces are left out: at most {len(photo.faces)} are shown."
    if photo.faces:
        return ""
    return (
        f"No face of at least {least} x {least} pixels was found in this photo. Faces must be upright and seen from "
        "the front; if the photo is nothing but a face, choose 'Already cropped'."
    )


def _face(face: Face) -> dict[str, Any]:
    return {"box": face.box, "crop": _png(face.crop)}


def _outputs(subject: Subject, crops: Pixels) -> Sequence[dict[str, Any]]:
    """What the model makes of N crops (N, H, W, C), for each."""
    codes = subject.model.embed(crops)
    found: list[dict[str, Any]] = [{} for _ in crops]
    if subject.axes is not None:
        pictures, coordinates = subject.model.decode(codes), subject.axes.coordinates(codes)
        for one, code, place, picture in zip(found, codes, coordinates, pictures, strict=True):
            one |= {"code": code.tolist(), "coordinates": place.tolist(), "reconstruction": _png(picture)}
    if subject.known is not None:
        for one, matches in zip(found, subject.known.nearest(codes, _NEAREST), strict=True):
            one["nearest"] = [{**vars(match), "picture": _png(match.picture)} for match in matches]
    return found


def _add_latents(app: FastAPI, subject: Subject, turns: Turns) -> None:
    axes, model = subject.axes, subject.model
    assert axes is not None

    @app.post("/api/moved")
    async def moved(asked: Moved) -> dict[str, Any]:
        code = _array(asked.code, len(axes.mean), "code")
        coordinates = _array(asked.coordinates, len(axes), "coordinates")
        async with turns.turn():
            pictures = await turns.run(lambda: model.decode(axes.moved(code, coordinates)[None]))
        return {"picture": _png(pictures[0])}

    @app.post("/api/between")
    async def interpolated(asked: Pair) -> dict[str, Any]:
        first, second = (_array(code, len(axes.mean), "code") for code in (asked.first, asked.second))
        async with turns.turn():
            pictures = await turns.run(lambda: model.decode(between(first, second, asked.steps)))
        return {"pictures": [_png(picture) for picture in pictures]}


def _array(values: Sequence[float], length: int, name: str) -> Codes:
    if len(values) != length:
        raise HTTPException(422, f"{name}: {length} numbers are expected, and {len(values)} were sent.")
    with np.errstate(over="ignore"):
        found = np.array(values, np.float32)
    if not np.isfinite(found).all():
        raise HTTPException(422, f"{name}: a number is too large.")
    return found


def _add_samples(app: FastAPI, subject: Subject, turns: Turns) -> None:
    model = subject.model
    module = model.module
    assert isinstance(module, Generative)
    count = module.num_labels

    def label_of(asked: Drawing, place: int) -> int:
        """The label of the face at a place: as asked, or else each in turn."""
        if asked.label is not None and asked.label >= max(1, count):
            raise HTTPException(422, f"label: the model has {count} labels, and {asked.label} was sent.")
        return place % max(1, count) if asked.label is None else asked.label

    @app.post("/api/samples")
    async def samples(asked: Samples) -> dict[str, Any]:
        labels = np.array([label_of(asked, place) for place in range(asked.count)])
        async with turns.turn():
            drawn = asked.psi * model.latents(asked.count, asked.seed)
            pictures = await turns.run(lambda: model.generate(drawn, labels))
        names = [model.metadata.label_names[label] for label in labels] if count else [None] * asked.count
        return {"faces": [{"picture": _png(one), "label": name} for one, name in zip(pictures, names, strict=True)]}

    @app.post("/api/line")
    async def line(asked: Line) -> dict[str, Any]:
        labels = np.full(asked.steps, label_of(asked, asked.first))
        ends = asked.psi * model.latents(max(asked.first, asked.second) + 1, asked.seed)
        async with turns.turn():
            codes = model.line(ends[asked.first], ends[asked.second], asked.steps)
            pictures = await turns.run(lambda: model.generate(codes, labels))
        return {"pictures": [_png(picture) for picture in pictures]}


def _add_errors(app: FastAPI) -> None:
    """Every error is one sentence for the page: {"error": "..."}."""

    def answer(status: int, message: str) -> Response:
        return JSONResponse({"error": message}, status)

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(error.status_code, str(error.detail))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return answer(422, f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}.")

    async def unusable(_: Request, error: Exception) -> Response:
        return answer(422, str(error))

    async def gone(_: Request, __: Exception) -> Response:
        return answer(400, "The request was cut.")

    async def failed(_: Request, __: Exception) -> Response:
        return answer(500, "The demo failed on this request. The terminal in which it runs says why.")

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(DataError, unusable)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, failed)


def _png(pixels: Pixels) -> str:
    return _encoded(pixels, "png")


def _jpeg(pixels: Pixels) -> str:
    return _encoded(pixels, "jpeg")


def _encoded(pixels: Pixels, kind: str) -> str:
    written = io.BytesIO()
    picture(pixels).save(written, kind)
    return data_uri(f"image/{kind}", written.getvalue())
