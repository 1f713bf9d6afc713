"""GAN-test and GAN-train, of samples whose quality is known: real faces under right and under wrong labels."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.data.faces import FaceSet
from facelab.protocols.base import Report, Table
from facelab.protocols.generation_labels import Labelled, with_label_accuracy

Images = NDArray[np.uint8]
EMPTY = Report({"generation/kid_face": 0.0}, Table("generated faces", ["", "generated", "real"], [["KID", "0", "0"]]))


def _pixels(images: Images) -> Tensor:
    return torch.from_numpy(images.reshape(len(images), -1).astype(np.float32))


def _of(faces: FaceSet, places: range) -> Labelled:
    """Images of some places, from 0 to 9, among those of each of the first eight people."""
    indices = [10 * person + place for person in range(8) for place in places]
    return Labelled(np.stack([faces.pixels[i] for i in indices]), faces.labels[indices])


@pytest.fixture
def parts(orl: FaceSet) -> tuple[Labelled, Labelled, Labelled]:
    """Images for samples, training and test."""
    return _of(orl, range(3)), _of(orl, range(3, 7)), _of(orl, range(7, 10))


def _classify(train: Labelled) -> object:
    known = _pixels(train.images)
    return lambda images: torch.from_numpy(train.labels)[torch.cdist(_pixels(images), known).argmin(dim=1)]


def _metrics(samples: Labelled, train: Labelled, test: Labelled) -> dict[str, float]:
    report = with_label_accuracy(EMPTY, samples, train, test, _pixels, _classify(train))  # type: ignore[arg-type]
    assert report.metrics["generation/kid_face"] == 0.0
    assert len(report.table.rows) == 3
    return {name.removeprefix("generation/"): value for name, value in report.metrics.items()}


def test_real_faces_as_samples_are_as_good_as_real_ones(parts: tuple[Labelled, Labelled, Labelled]) -> None:
    found = _metrics(*parts)
    assert min(found["gan_test"], found["gan_test_real"], found["gan_train"], found["gan_train_real"]) > 0.85


def test_samples_under_other_labels_fail_both_and_the_real_values_stay(
    parts: tuple[Labelled, Labelled, Labelled],
) -> None:
    samples, train, test = parts
    found = _metrics(Labelled(samples.images, (samples.labels + 1) % 8), train, test)
    right = _metrics(samples, train, test)
    assert found["gan_test"] < 0.1
    assert found["gan_train"] < 0.1
    for name in ("gan_test_real", "gan_train_real"):
        assert found[name] == right[name]


def test_samples_of_half_the_people_pass_gan_test_alone(parts: tuple[Labelled, Labelled, Labelled]) -> None:
    samples, train, test = parts
    half = samples.labels < 4
    found = _metrics(Labelled(samples.images[half], samples.labels[half]), train, test)
    assert found["gan_test"] > 0.85
    assert 0.4 < found["gan_train"] <= 0.5


def test_copies_of_training_faces_are_classified_without_error(parts: tuple[Labelled, Labelled, Labelled]) -> None:
    _, train, test = parts
    assert _metrics(train, train, test)["gan_test"] == 1.0


def test_people_who_were_not_trained_have_no_gan_test(parts: tuple[Labelled, Labelled, Labelled]) -> None:
    samples, train, test = parts
    strangers = Labelled(test.images, test.labels + 8)
    assert with_label_accuracy(EMPTY, samples, train, strangers, _pixels, _classify(train)) is EMPTY  # type: ignore[arg-type]
