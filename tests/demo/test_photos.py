"""Photos: decoded, their faces found and cropped as the training images are."""

import io
import sys

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from facelab.data.photos.align import align, frame_of, template
from facelab.data.photos.detect import Detector
from facelab.data.sources.orl import ORL
from facelab.demo.photos import PhotoReader
from facelab.errors import DataError
from facelab.galleries import FaceReader

Pixels = NDArray[np.uint8]
SHAPE = (1, 64, 64)


def encoded(pixels: Pixels | Image.Image, kind: str = "png") -> bytes:
    written = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(written, kind)
    return written.getvalue()


@pytest.fixture(scope="module")
def examples() -> list[Pixels]:
    """AT&T faces as a model is trained on them: stretched to squares, with hair and neck."""
    faces = ORL(image_size=64, channels=1, last_person=8).load()
    return [faces.pixels[i] for i in range(0, 80, 7)]


@pytest.fixture(scope="module")
def reader(examples: list[Pixels]) -> PhotoReader:
    return PhotoReader(SHAPE, examples)


def test_a_frame_is_found_again() -> None:
    scales, shifts = np.array([[0.8, 0.6]]), np.array([[3.0, 9.0]])
    noise = np.random.default_rng(0).normal(0, 0.5, (99, 5, 2))
    found = frame_of(template(64) * scales + shifts + noise, 64)
    np.testing.assert_allclose(found, np.array([[0.8, 0, 3], [0, 0.6, 9], [0, 0, 1]]), atol=0.4)


def test_photos_are_cropped_as_the_training_images_are() -> None:
    """From images alone that were cropped in a frame of their own, this frame is found."""
    detector, faces = Detector(), ORL(image_size=112, channels=3, last_person=10).load()
    originals = [cv2.resize(faces.pixels[i], (184, 224)) for i in range(0, 100, 8)]
    points = [detector(image).points[0] for image in originals]
    made = np.array([[0.95, 0, 2], [0, 0.75, 12], [0, 0, 1]])
    crops = [align(image, own, 112, made) for image, own in zip(originals, points, strict=True)]
    reader = PhotoReader((3, 112, 112), crops[1:])
    assert reader.frame is not None
    places = np.hstack([template(112), np.ones((5, 1))])
    np.testing.assert_allclose(places @ reader.frame.T, places @ made.T, atol=2)  # the points of a face, in pixels
    photo = np.full((500, 600, 3), 128, np.uint8)
    photo[150:374, 300:484] = originals[0]
    (face,) = reader.read(encoded(photo), is_cropped=False).faces
    assert face.box == pytest.approx((0.54, 0.4, 0.2, 0.3), abs=0.1)
    inner = np.s_[23:93, 23:89]  # beyond, one of the two crops shows the grey around the image
    aligned = align(photo, detector(photo).points[0], 112)
    alike = [float(np.corrcoef(crop[inner].ravel(), crops[0][inner].ravel())[0, 1]) for crop in (face.crop, aligned)]
    assert alike[0] > 0.8 > alike[1] + 0.1, alike


def test_several_faces_and_no_face(reader: PhotoReader) -> None:
    head = Image.fromarray(skimage.data.astronaut()).crop((150, 0, 310, 180))
    photo = Image.new("RGB", (600, 300), (90, 110, 130))
    photo.paste(head, (20, 40))
    photo.paste(head.resize((80, 90)), (400, 100))
    photo.paste(head.resize((40, 45)), (500, 100))
    large, small = reader.read(encoded(photo, "webp"), is_cropped=False).faces  # the third has less than 40 pixels
    assert large.box[0] < 0.3 < 0.6 < small.box[0]
    assert not reader.read(encoded(skimage.data.coffee()), is_cropped=False).faces


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 112, 112), (3, 160, 160)])
def test_crops_are_those_that_identify_compares(shape: tuple[int, int, int]) -> None:
    """Also of a large photo, and of faces of little more than 40 pixels in it."""
    photo = Image.new("RGB", (2400, 1600), (90, 110, 130))
    for place, size in (((0, 0), 1500), ((1600, 100), 512), ((1700, 1000), 230)):
        photo.paste(Image.fromarray(skimage.data.astronaut()).resize((size, size)), place)
    content = encoded(photo, "bmp")
    expected = FaceReader(shape[1], shape[0], aligned=False).decode(content).faces
    found = PhotoReader(shape, []).read(content, is_cropped=False)
    assert len(found.faces) == len(expected) == 3
    for one, other in zip(found.faces, expected, strict=True):
        np.testing.assert_array_equal(one.crop, other.pixels)
    cropped = encoded(skimage.data.astronaut()[:200, 150:350])
    (one,), (other,) = (
        PhotoReader(shape, []).read(cropped, is_cropped=True).faces,
        FaceReader(shape[1], shape[0], aligned=True).decode(cropped).faces,
    )
    np.testing.assert_array_equal(one.crop, other.pixels)


def test_a_large_photo_is_cropped_from_its_own_pixels(reader: PhotoReader) -> None:
    photo = Image.fromarray(skimage.data.astronaut())
    small, large = (reader.read(encoded(photo.resize((side, side)), "jpeg"), is_cropped=False) for side in (512, 1536))
    assert large.shown.shape == (1024, 1024, 3)
    assert large.faces[0].box == pytest.approx(small.faces[0].box, abs=0.04)
    assert np.corrcoef(large.faces[0].crop[12:52, 12:52].ravel(), small.faces[0].crop[12:52, 12:52].ravel())[0, 1] > 0.9


def test_a_cropped_face_is_read_as_a_training_image_is(reader: PhotoReader, examples: list[Pixels]) -> None:
    photo = reader.read(encoded(examples[3].squeeze(-1)), is_cropped=True)
    assert (photo.faces[0].crop == examples[3]).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not an image of a supported format"),
        (b"just text", "is not an image of a supported format"),
        (b"%!PS-Adobe-3.0", "holds PostScript, despite its name"),
        (encoded(np.zeros((90, 90, 3), np.uint8))[:60], "is damaged or truncated"),
        (b"P5 99999 99999 255\n", "more than 64,000,000"),
        (encoded(np.zeros((30, 50, 3), np.uint8)), "has 50 x 30 pixels, too few for a face"),
    ],
)
def test_what_is_no_photo_is_refused_in_one_sentence(reader: PhotoReader, content: bytes, says: str) -> None:
    with pytest.raises(DataError) as error:
        reader.read(content, is_cropped=True)
    assert str(error.value).startswith("This file ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_without_a_detector_every_image_is_a_face(examples: list[Pixels], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "site-packages" not in path])
    reader = PhotoReader(SHAPE, examples)
    assert not reader.finds_faces
    assert len(reader.read(encoded(skimage.data.coffee()), is_cropped=False).faces) == 1
