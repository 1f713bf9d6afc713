"""Autoencoders beside principal components."""

import numpy as np
import pytest
from numpy.typing import NDArray

from facelab.data.faces import FaceSet
from facelab.data.splits.base import split
from facelab.data.splits.rules import FewShot
from facelab.protocols.base import Outputs
from facelab.protocols.reconstruction import reconstruction_report


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


def test_strangers_are_reconstructed_but_not_named(orl: FaceSet) -> None:
    first, others = np.arange(0, 200), np.arange(200, 400)
    train, test = (_principal(orl, part, first, 10) for part in (first, others))
    report = reconstruction_report(train, test, orl)
    assert "pca/accuracy" not in report.metrics
    assert report.metrics["reconstruction/rmse_over_pca"] == pytest.approx(1, abs=1e-4)
