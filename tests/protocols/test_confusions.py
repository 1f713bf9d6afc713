"""The most confused classes."""

import numpy as np

from facelab.data.faces import FaceSet
from facelab.protocols.confusions import confused_pairs, most_confused


def test_pairs_are_counted_the_most_frequent_first() -> None:
    labels, predicted = np.array([1, 0, 1, 2, 1]), np.array([2, 1, 2, 0, 0])
    assert most_confused(labels, predicted) == [(1, 2, 2), (0, 1, 1), (1, 0, 1), (2, 0, 1)]


def test_a_picture_shows_a_limited_number_of_them(orl: FaceSet) -> None:
    wrong = np.arange(9, 400, 10)  # the last image of each of 40 people
    train = np.setdiff1d(np.arange(400), wrong)
    many = confused_pairs(orl, train, wrong, (orl.labels[wrong] + 1) % 40)
    few = confused_pairs(orl, train, wrong[:4], orl.labels[wrong[:4]] + 1)
    assert many.shape[2] == 3
    assert many.shape[1] == few.shape[1]
    assert 3 * few.shape[0] < many.shape[0] < 5 * few.shape[0], "four rows of four pairs"
