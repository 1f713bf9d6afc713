"""The demo's server, asked over HTTP."""

import base64
import io
import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

import facelab.demo
from facelab.data.sources.orl import ORL
from facelab.models.sampling import interpolate, sample
from tests.demo.made import Served
from tests.demo.test_photos import encoded

PAGE = Path(facelab.demo.__file__).parent / "page"
FILES = ("/", "/style.css", "/main.js", "/page.js", "/photos.js", "/latents.js", "/samples.js")


def pixels(uri: str) -> NDArray[np.uint8]:
    kind, _, data = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def face(index: int) -> NDArray[np.uint8]:
    return ORL(image_size=32, channels=1, last_person=6).load().pixels[index]


def test_the_page_comes_with_everything_it_needs(cnn: Served) -> None:
    assert {path.name for path in PAGE.iterdir()} == {"index.html", *(name[1:] for name in FILES[1:])}
    for path in FILES:
        status, headers, content = cnn.ask("GET", path)
        assert status == 200
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert not re.search(rb"https?://|//\w+\.\w|\son\w+=|<style|style=", content), (
            "nothing from elsewhere or inline"
        )


def test_a_training_face_is_its_own_nearest(cnn: Served) -> None:
    train = cnn.subject.known
    assert train is not None
    known = train.nearest(cnn.subject.model.embed(face(0)[None]), 1)[0][0].picture
    found = cnn.post("/api/photo?cropped=true", encoded(known.squeeze(-1)))
    (one,) = found["faces"]
    assert [len(one["nearest"]), one["nearest"][0]["score"]] == [3, pytest.approx(1, abs=1e-5)]
    assert (pixels(one["nearest"][0]["picture"]) == known.squeeze(-1)).all()
    assert (pixels(one["crop"]) == known.squeeze(-1)).all()


def test_photos_without_a_face_are_told(cnn: Served) -> None:
    found = cnn.post("/api/photo", encoded(skimage.data.coffee(), "jpeg"))
    assert found["faces"] == []
    assert found["note"].startswith("No face of at least 40 x 40 pixels was found in this photo.")
    assert "pip" not in found["note"]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/api/photo", b"just text", 422, "This file is not an image of a supported format"),
        ("/api/moved", {"code": [0.0] * 8, "coordinates": []}, 404, "Not Found"),
        ("/../../etc/passwd", b"", 404, "Not Found"),
        ("/page.js", b"", 405, "Method Not Allowed"),
    ],
)
def test_what_a_cnn_refuses(cnn: Served, path: str, body: object, status: int, says: str) -> None:
    found = cnn.refused(path, body)
    assert found[0] == status
    assert says in found[1]


@pytest.mark.parametrize(
    "path",
    ["/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/page/index.html", "//etc/passwd", "/docs", "/openapi.json"],
)
def test_only_the_pages_own_files_are_served(cnn: Served, path: str) -> None:
    assert cnn.ask("GET", path)[0] == 404


def test_a_hundred_megabytes_are_refused_and_not_kept(cnn: Served) -> None:
    sent = 0

    def zeros() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield bytes(1 << 20)

    length = {"Content-Length": str(100 << 20)}
    for headers in (length, {}):  # of a length that is announced, and in chunks
        found = cnn.refused("/api/photo", zeros(), headers)
        assert found == (413, "This is too large: at most 20 MiB are accepted.")
    assert cnn.refused("/api/moved", bytes(1 << 19))[0] in (404, 413)
    assert cnn.ask("GET", "/api/run")[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9", 200),
        ("localhost", 200),
        ("[::1]:80", 200),
        ("example.org", 403),
        ("127.0.0.1.example.org", 403),
        ("localhost.example.org:5050", 403),
        ("192.168.0.7:5050", 403),
        ("", 403),
        ("[x", 403),
    ],
)
def test_only_names_of_this_machine_are_answered(cnn: Served, host: str, status: int) -> None:
    assert cnn.ask("GET", "/api/run", headers={"Host": host})[0] == status


def test_other_sites_cannot_ask(cnn: Served) -> None:
    own = f"http://127.0.0.1:{cnn.port}"
    image = encoded(face(0).squeeze(-1))
    for headers in (
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{cnn.port + 1}"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        status, says = cnn.refused("/api/photo", image, headers)
        assert (status, says) == (403, "The demo answers only to its own page, not to other sites.")
    assert cnn.ask("POST", "/api/photo", image, {"Origin": own, "Sec-Fetch-Site": "same-origin"})[0] == 200
    assert cnn.ask("OPTIONS", "/api/photo", headers={"Origin": "http://example.org"})[0] == 403


_WRITTEN: list[str] = []
_watching = threading.Event()


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _watching.is_set() and event == "open":
        _, mode, flags = arguments
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & 3):
            _WRITTEN.append(str(arguments[0]))


def test_photos_are_never_written_to_disk(cnn: Served) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1000, 3), np.uint8)
    photo = encoded(noise, "bmp")
    assert len(photo) > 3 << 20  # Starlette's own uploads go to a file from 1 MiB on
    sys.addaudithook(_watch)  # it stays, and does nothing after this test
    _watching.set()
    try:
        cnn.post("/api/photo?cropped=true", photo)
    finally:
        _watching.clear()
    assert not _WRITTEN


def test_a_flood_is_turned_away_and_the_rest_served(cnn: Served) -> None:
    photo, statuses = encoded(skimage.data.astronaut()), []

    def send() -> None:
        statuses.append(cnn.ask("POST", "/api/photo", photo)[0])

    threads = [threading.Thread(target=send) for _ in range(14)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 8
    assert cnn.ask("GET", "/api/run")[0] == 200


def test_a_face_is_reconstructed_moved_and_mixed(vae: Served) -> None:
    model, axes = vae.subject.model, vae.subject.axes
    assert axes is not None
    first, second = (vae.post("/api/photo?cropped=1", encoded(face(i).squeeze(-1)))["faces"][0] for i in (0, 11))
    code = model.embed(face(0)[None])
    expected = model.decode(code).squeeze()
    assert np.abs(pixels(first["reconstruction"]).astype(int) - expected).max() <= 1
    same = vae.post("/api/moved", {"code": first["code"], "coordinates": first["coordinates"]})["picture"]
    assert np.abs(pixels(same).astype(int) - expected).max() <= 1
    asked = [1.5] * len(axes)
    moved = vae.post("/api/moved", {"code": first["code"], "coordinates": asked})["picture"]
    by_hand = model.decode(axes.moved(code[0], np.array(asked, np.float32))[None]).squeeze()
    assert np.abs(pixels(moved).astype(int) - by_hand).max() <= 1
    way = vae.post("/api/between", {"first": first["code"], "second": second["code"], "steps": 5})["pictures"]
    assert [len(way), way[0], way[-1]] == [5, first["reconstruction"], second["reconstruction"]]


def test_numbers_that_are_no_embedding_are_refused(vae: Served) -> None:
    count = len(vae.subject.axes or [])
    for code, coordinates, says in (
        ([0.0] * 7, [0.0] * count, "code: 8 numbers are expected, and 7 were sent."),
        ([0.0] * 8, [0.0] * (count + 1), "coordinates: "),
        ([float("nan")] * 8, [0.0] * count, "finite number"),
        ([1e300] * 8, [0.0] * count, "code: a number is too large."),
        ([0.0] * 100_000, [0.0] * count, "This is too large: at most 256 KiB are accepted."),
    ):
        status, found = vae.refused("/api/moved", {"code": code, "coordinates": coordinates})
        assert status in (413, 422)
        assert says in found
    assert vae.refused("/api/between", b"{")[0] == 422


def test_new_faces_are_those_of_generate(gan: Served) -> None:
    module = gan.subject.model.module
    found = gan.post("/api/samples", {"seed": 3, "count": 7, "psi": 0.7})["faces"]
    images, labels = sample(module, 7, seed=3, psi=0.7)
    assert [one["label"] for one in found] == [f"s{label + 1}" for label in labels]
    assert all((pixels(one["picture"]) == image.squeeze()).all() for one, image in zip(found, images, strict=True))
    own = gan.post("/api/samples", {"seed": 3, "count": 2, "label": 4})["faces"]
    assert [one["label"] for one in own] == ["s5", "s5"]
    alike = gan.post("/api/samples", {"count": 3, "psi": 0, "label": 4})["faces"]
    assert len({one["picture"] for one in alike}) == 1


def test_a_line_between_two_new_faces(gan: Served) -> None:
    found = gan.post("/api/line", {"seed": 5, "first": 0, "second": 1, "label": 2, "steps": 6})["pictures"]
    expected = interpolate(gan.subject.model.module, 1, 6, seed=5, label=2)[0]
    for picture, image in zip(found, expected, strict=True):
        assert np.abs(pixels(picture).astype(int) - image.squeeze()).max() <= 1


def test_new_faces_of_nobody_or_of_too_many_are_refused(gan: Served) -> None:
    assert gan.refused("/api/samples", {"label": 6}) == (422, "label: the model has 6 labels, and 6 was sent.")
    for asked in ({"count": 65}, {"psi": 3}, {"seed": -1}, {"count": 0}):
        assert gan.refused("/api/samples", asked)[0] == 422
    assert gan.refused("/api/photo", b"x")[0] == 404


def test_what_a_run_can_show(cnn: Served, vae: Served, gan: Served) -> None:
    shown = [json.loads(one.ask("GET", "/api/run")[2]) for one in (cnn, vae, gan)]
    parts = ("photos", "known", "axes", "samples")
    assert [[bool(one[part]) for part in parts] for one in shown] == [
        [True, True, False, False],
        [True, False, True, True],
        [False, False, False, True],
    ]
    assert shown[0]["known"]["title"].startswith("the 6 people of the run's ")
