"""Autoencoders beside principal components."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits, split
from facelab.data.splits.rules import FewShot
from facelab.errors import ConfigError
from facelab.protocols.base import Outputs
from facelab.protocols.reconstruction import Reconstruction, reconstruction_report
from tests.data.made import made_set


def _principal(faces: FaceSet, indices: NDArray[np.int64], train: NDArray[np.int64], count: int) -> Outputs:
    """What a model that is PCA would answer, by the singular value decomposition."""
    fit_to, shown = (np.stack([faces.pixels[int(i)].ravel() for i in part]) / 255.0 for part in (train, indices))
    mean = fit_to.mean(axis=0)
    axes = np.linalg.svd(fit_to - mean, full_matrices=False)[2][:count]
    coded = (shown - mean) @ axes.T
    errors = ((coded @ axes + mean - shown) ** 2).mean(axis=1)
    return Outputs(
        coded.astype(np.float32),
        None,
        faces.labels[indices],
        faces.identities[indices],
        indices,
        {"squared_error": errors.astype(np.float32), "ssim": np.ones(len(indices), dtype=np.float32)},
    )


@pytest.mark.slow
def test_the_randomised_pca_of_large_sets_is_as_good_as_the_complete_one(
    orl: FaceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facelab.protocols.reconstruction.MOST_EXACT_VALUES", 0)
    splits = split(orl, FewShot(5, seed=0))
    train, test = (_principal(orl, part, splits.train, 20) for part in (splits.train, splits.test))
    metrics = reconstruction_report(train, test, orl).metrics
    assert metrics["reconstruction/rmse_over_pca"] == pytest.approx(1, abs=5e-3)


def test_a_model_that_is_pca_is_as_good_as_pca(orl: FaceSet) -> None:
    splits = split(orl, FewShot(3, seed=0))
    train, test = (_principal(orl, part, splits.train, 20) for part in (splits.train, splits.test))
    report = reconstruction_report(train, test, orl)
    metrics = report.metrics
    assert metrics["reconstruction/rmse_over_pca"] == pytest.approx(1, abs=1e-4)
    assert report.table.rows[1][1:] == ["1.00", "1.00"]  # how far a run got is said in its summary
    assert metrics["reconstruction/rmse_train"] < metrics["reconstruction/rmse"]
    by_picture = -10 * np.log10(test.terms["squared_error"].astype(float))
    assert metrics["reconstruction/psnr"] == pytest.approx(by_picture.mean(), abs=1e-3)


def test_pca_never_has_more_components_than_the_training_pictures_allow(orl: FaceSet) -> None:
    splits = split(orl, FewShot(1, seed=0))
    train, test = (_principal(orl, part, splits.train, 39) for part in (splits.train, splits.test))
    padded = [
        Outputs(
            np.pad(part.embeddings, ((0, 0), (0, 100))), None, part.labels, part.identities, part.indices, part.terms
        )
        for part in (train, test)
    ]
    report = reconstruction_report(padded[0], padded[1], orl)
    assert report.table.columns[2] == "PCA, 39 components"
    assert report.metrics["reconstruction/rmse_over_pca"] == pytest.approx(1, abs=1e-4)


def test_an_exact_pca_is_no_yardstick() -> None:
    random = np.random.default_rng(0)
    faces = replace(
        made_set(np.arange(90) % 3, ["a", "b", "c"]), pixels=random.integers(0, 256, (90, 8, 8, 1), np.uint8)
    )
    train, test = (_principal(faces, part, np.arange(80), 64) for part in (np.arange(80), np.arange(80, 90)))
    report = reconstruction_report(train, test, faces)
    assert report.metrics["reconstruction/pca_rmse"] == pytest.approx(0, abs=1e-9)
    assert "reconstruction/rmse_over_pca" not in report.metrics


def test_one_person_is_reconstructed_but_not_named(orl: FaceSet) -> None:
    train, test = (_principal(orl, part, np.arange(6), 3) for part in (np.arange(6), np.arange(6, 10)))
    assert "pca/accuracy" not in reconstruction_report(train, test, orl).metrics


def test_one_training_image_is_refused(orl: FaceSet) -> None:
    with pytest.raises(ConfigError, match="two training images or more; this split has 1"):
        Reconstruction().check(Splits(np.arange(1), np.arange(0), np.arange(1, 10)), orl)


def test_strangers_are_reconstructed_but_not_named(orl: FaceSet) -> None:
    first, others = np.arange(0, 200), np.arange(200, 400)
    train, test = (_principal(orl, part, first, 10) for part in (first, others))
    report = reconstruction_report(train, test, orl)
    assert "pca/accuracy" not in report.metrics
    assert report.metrics["reconstruction/rmse_over_pca"] == pytest.approx(1, abs=1e-4)
