"""The study of generators: figures by hand, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from facelab.errors import ConfigError
from facelab.models.sampling import sample
from facelab.models.trained import load, predictions
from tests.experiments.test_tables import script
from tests.exporting.untrained import write_run


def test_the_share_of_each_person_is_that_of_their_own_samples(tmp_path: Path) -> None:
    generator, recogniser = (write_run(tmp_path, choice) for choice in ("gan_conditional", "cnn"))
    shares = script("generators/person.py").held(generator, recogniser, samples=12)
    images, labels = sample(load(generator).module, 12, seed=0)
    told = predictions(load(recogniser).module, images).tolist()
    by_hand = [np.mean([told[i] == person for i in range(person, 12, 3)]) for person in range(3)]
    assert labels.tolist() == [0, 1, 2] * 4
    assert shares.tolist() == by_hand


def test_a_recogniser_of_another_image_size_is_refused(tmp_path: Path) -> None:
    generator, recogniser = write_run(tmp_path, "gan_conditional"), write_run(tmp_path, "cnn", side=48)
    with pytest.raises(ConfigError, match="differ in people or image size"):
        script("generators/person.py").held(generator, recogniser, samples=12)


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
