"""The study of generators, by hand."""

import numpy as np
import torch

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


def test_a_face_is_recognised_by_the_next_image_of_its_person() -> None:
    gallery = torch.eye(4).reshape(2, 2, 4)  # two images each of two people
    probes = gallery.roll(-1, dims=1)[:, :, None].repeat(1, 1, 4, 1)  # each shows the next image, four times
    recognised = script("generators/transfer.py").recognised
    assert recognised(probes, gallery) == 1
    probes[0, 0, 0] = gallery[1, 1]  # another person's
    assert recognised(probes, gallery) == 15 / 16
