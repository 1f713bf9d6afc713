"""The study of generators: images of a known worth, by hand."""

import numpy as np

from tests.experiments.test_tables import script


def test_images_of_known_worth_by_hand() -> None:
    train = np.zeros((10, 1, 3, 1), np.uint8)
    train[:5, 0, :, 0] = 10 * np.arange(5)[:, None]  # one person of levels 0 to 40
    train[5:] = 200
    train[0, 0, 0, 0] = 100
    made = script("generators/calibrate.py").known_images(train, train[:1])
    assert made["training faces, mirrored"][0, 0, :, 0].tolist() == [0, 0, 100]
    assert made["mean of two faces of one person"][:, 0, 1, 0].tolist() == [20, 5, 15, 25, 35, *[200] * 5]
    assert made["mean of two people's faces"][:5, 0, 1, 0].tolist() == [100, 105, 110, 115, 120]
    assert made["training faces, blurred by 2 pixels"][6:].min() == 200
