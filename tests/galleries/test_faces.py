"""Faces of photos, as galleries compare them."""

import numpy as np
import skimage.data
from PIL import Image

from facelab.galleries import FaceReader


def test_the_least_size_does_not_change_a_crop() -> None:
    photo = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((1000, 1000)))
    (expected,) = FaceReader(112, 3, aligned=False).find(photo).faces
    for least in (20, 100, 200):
        (found,) = FaceReader(112, 3, False, least).find(photo).faces
        np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert FaceReader(112, 3, False, 300).find(photo).problem.startswith("shows no face of at least 300 x 300 pixels")
