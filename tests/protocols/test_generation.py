"""Generated faces, judged: by judges whose features are pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.data.faces import FaceSet
from facelab.protocols.generation_report import COPY_Z, ReferenceModels, generation_report, spread

Images = NDArray[np.uint8]


def _shrunk(images: Images) -> Tensor:
    """(N, 64): pictures as 8 x 8 means, around their common middle."""
    small = torch.nn.functional.avg_pool2d(torch.from_numpy(images[..., 0].astype(np.float32))[:, None], 4)
    return small.flatten(1) - 110


JUDGES = ReferenceModels(embed=_shrunk, face_share=lambda images: float((images.mean(axis=(1, 2, 3)) > 60).mean()))


@pytest.fixture(scope="module")
def real(orl: FaceSet) -> tuple[Images, Images]:
    pixels = np.stack([orl.pixels[i] for i in range(400)])
    odd = np.arange(400) % 2 == 1
    return pixels[odd], pixels[~odd]


def _noisy(images: Images, levels: float) -> Images:
    noise = np.random.default_rng(0).normal(0, levels, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def test_real_faces_are_near_the_floor_and_noise_is_far(real: tuple[Images, Images]) -> None:
    train, held_out = real
    as_good = generation_report(held_out[::2], train, held_out[1::2], JUDGES).metrics
    assert abs(as_good["generation/kid_face_over_floor"]) < 10  # below 0, since both halves hold the same people
    noise = np.random.default_rng(0).integers(0, 256, train.shape).astype(np.uint8)
    bad = generation_report(noise, train, held_out, JUDGES).metrics
    assert bad["generation/kid_face_over_floor"] > 100
    assert bad["generation/frechet_face"] > 3 * bad["generation/frechet_face_floor"]
    assert max(bad["generation/precision"], bad["generation/recall"]) < 0.1
    assert as_good["generation/recall"] > 0.8


def test_worse_pictures_are_further_away(real: tuple[Images, Images]) -> None:
    train, held_out = real
    found = [generation_report(_noisy(held_out, n), train, held_out, JUDGES).metrics for n in (20, 80, 160)]
    for name in ("kid_face", "frechet_face"):
        values = [metrics[f"generation/{name}"] for metrics in found]
        assert values == sorted(values)


def test_a_copier_fails_the_copy_test_and_unseen_faces_pass(real: tuple[Images, Images]) -> None:
    train, held_out = real
    copier = generation_report(_noisy(train, 2), train, held_out, JUDGES).metrics
    assert copier["generation/copy_z"] < COPY_Z
    assert copier["generation/copy_share"] > 0.9
    unseen = generation_report(held_out, train, held_out, JUDGES).metrics
    assert unseen["generation/copy_z"] == pytest.approx(0, abs=1e-9)
    assert unseen["generation/copy_share"] <= 0.02


def test_copies_of_any_of_many_training_faces_are_found() -> None:
    random = np.random.default_rng(0)
    train, unseen = (random.integers(0, 256, (count, 8, 8, 1)).astype(np.uint8) for count in (5000, 100))
    reference = replace(JUDGES, embed=lambda images: torch.from_numpy(images.reshape(-1, 64) - 127.5))
    evenly = spread(np.arange(5000), 2000)
    copied = train[np.setdiff1d(np.arange(5000), evenly)[:200]]
    found = generation_report(copied, train, unseen, reference).metrics
    assert found["generation/copy_share"] == 1
    of_2000 = generation_report(copied, train[evenly], unseen, reference).metrics
    assert of_2000["generation/copy_share"] < 0.1
    assert found["generation/kid_face_floor"] == of_2000["generation/kid_face_floor"]  # all else compares 2,000


def test_one_face_again_and_again_has_no_recall(real: tuple[Images, Images]) -> None:
    train, held_out = real
    collapsed = generation_report(_noisy(held_out[:1].repeat(200, axis=0), 1), train, held_out, JUDGES).metrics
    assert collapsed["generation/recall"] < 0.1


def test_each_sample_stands_above_its_nearest_training_face(real: tuple[Images, Images]) -> None:
    train, held_out = real
    report = generation_report(train[::-1][:16].copy(), train, held_out, JUDGES)
    picture = report.images["nearest_training_faces"]
    height = picture.shape[0] // 4
    rows = [picture[i * height : (i + 1) * height] for i in range(4)]
    assert (rows[0] == rows[1]).all()  # every sample is a training face
    assert (rows[2] == rows[3]).all()
    assert (rows[0] != rows[2]).any()


def test_the_share_of_faces_is_the_classifiers(real: tuple[Images, Images]) -> None:
    train, held_out = real
    samples = np.concatenate([held_out[:30], np.zeros_like(held_out[:10])])
    metrics = generation_report(samples, train, held_out, JUDGES).metrics
    bright = (held_out[:30].mean(axis=(1, 2, 3)) > 60).mean()
    assert metrics["generation/face_share"] == pytest.approx(0.75 * bright)


@pytest.mark.parametrize("accepted", [0.94, 0.95])
def test_a_classifier_that_does_not_know_the_real_faces_is_named(real: tuple[Images, Images], accepted: float) -> None:
    train, held_out = real
    reference = ReferenceModels(_shrunk, lambda images: accepted if images is held_out else 1.0)
    notes = generation_report(train[:20], train, held_out, reference).notes
    assert len(notes) == (accepted < 0.95)
    for fact in ("94.0%", "95%", "generation/face_share", "protocol.generation.face_classifier"):
        assert all(fact in note for note in notes)


def test_fid_compares_equally_many_faces(real: tuple[Images, Images]) -> None:
    train, held_out = real
    held_out = held_out[:31]
    judges = replace(JUDGES, inception=_shrunk)
    # 16 of 31, evenly spaced, are every other one.
    found = generation_report(held_out[::2], train, held_out, judges).metrics
    assert found["generation/fid"] == pytest.approx(0, abs=1e-3)
