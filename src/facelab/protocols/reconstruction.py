"""Reconstruction: errors of reconstructed faces, compared with PCA of the same dimension."""

import numpy as np
import torch
from numpy.typing import NDArray

from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.metrics.reconstruction import psnr_db
from facelab.models.base import FaceModule, Reconstructing
from facelab.protocols import plots
from facelab.protocols.base import Outputs, Protocol, Report, Subject, Table
from facelab.protocols.probe import linear_probe

# Up to this many grey levels of training images, PCA by a complete decomposition takes seconds. Above, a randomised one
# (Halko, Martinsson and Tropp, 2011) finds the leading components; on LFW the complete one takes minutes and gigabytes.
MOST_EXACT_VALUES = 2**23
_ROUNDING = 1e-9  # of reconstructions by as many components as pixels


class Reconstruction(Protocol):
    """Reconstruction errors compared with PCA, for models that decode embeddings; see `reconstruction_report`."""

    metrics = (
        Metric("reconstruction/rmse", "root mean squared error", False),
        Metric("reconstruction/rmse_train", "root mean squared error on training images", False),
        Metric("reconstruction/psnr", "PSNR", True, "dB"),
        Metric("reconstruction/ssim", "SSIM", True),
        Metric("reconstruction/pca_rmse", "root mean squared error of PCA", False),
        Metric("reconstruction/rmse_over_pca", "RMSE over that of PCA", False, headline=True),
        Metric("pca/accuracy", "accuracy of a linear probe on PCA", True, "share"),
    )

    @classmethod
    def can_evaluate(cls, model: type[FaceModule]) -> bool:
        """Whether the model decodes embeddings."""
        return issubclass(model, Reconstructing)

    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Check that there are two training images, between which PCA finds a component."""
        if len(splits.train) < 2:
            raise ConfigError(
                f"protocol=reconstruction fits PCA to two training images or more; this split has {len(splits.train)}. "
                "Add images, or choose another split."
            )

    def evaluate(self, subject: Subject) -> Report:
        """Compare the reconstructions of the test images with those of PCA."""
        return reconstruction_report(subject.train, subject.test, subject.faces)


def reconstruction_report(train: Outputs, test: Outputs, faces: FaceSet) -> Report:
    """Compare reconstructions of the test images by the model and by PCA fitted to the training images.

    `reconstruction/rmse` is the root mean squared error for grey levels in [0, 1], `reconstruction/psnr` a mean over
    images in dB, `reconstruction/ssim` a mean over images. `reconstruction/pca_rmse` and `reconstruction/rmse_over_pca`
    are of PCA with as many components as the embedding has dimensions, but fewer than there are training images; the
    latter is left out where PCA is exact, with as many components as pixels. If training and test share two people or
    more, `pca/accuracy` is the accuracy of the linear probe on the principal components, to compare with the model's
    `linear_probe/accuracy`.

    Args:
        train: outputs on the training images, whose terms hold `squared_error` and `ssim`.
        test: outputs on the test images, with the same terms.
        faces: the face set.
    """
    from sklearn.decomposition import PCA

    errors = test.terms["squared_error"].astype(np.float64)
    fit_to, shown = (_pixels(faces, part.indices) for part in (train, test))
    components = min(test.embeddings.shape[1], len(fit_to) - 1, fit_to.shape[1])
    solver = "full" if fit_to.size <= MOST_EXACT_VALUES else "randomized"
    pca = PCA(n_components=components, svd_solver=solver, random_state=0).fit(fit_to)
    coded = pca.transform(shown)
    pca_rmse = float(np.sqrt(np.mean((pca.inverse_transform(coded) - shown) ** 2)))
    rmse = float(np.sqrt(errors.mean()))
    metrics = {
        "reconstruction/rmse": rmse,
        "reconstruction/rmse_train": float(np.sqrt(train.terms["squared_error"].mean(dtype=np.float64))),
        "reconstruction/psnr": float(psnr_db(torch.from_numpy(errors)).mean()),
        "reconstruction/pca_rmse": pca_rmse,
    }
    ssim = float(test.terms["ssim"].mean(dtype=np.float64))
    if np.isfinite(ssim):  # NaN for images smaller than the SSIM window
        metrics["reconstruction/ssim"] = ssim
    rows = [
        ["root mean squared error", f"{rmse:.4f}", f"{pca_rmse:.4f}"],
        ["PSNR in dB", f"{metrics['reconstruction/psnr']:.1f}", ""],
        ["SSIM", f"{ssim:.3f}", ""],
    ]
    if pca_rmse > _ROUNDING:
        metrics["reconstruction/rmse_over_pca"] = rmse / pca_rmse
        rows.insert(1, ["as a multiple of PCA's", f"{rmse / pca_rmse:.2f}", "1.00"])
    if np.isin(test.labels, train.labels).all() and len(np.unique(train.labels)) > 1:
        by_model = np.mean(linear_probe(train.embeddings, train.labels, test.embeddings) == test.labels)
        by_pca = np.mean(linear_probe(pca.transform(fit_to), train.labels, coded) == test.labels)
        metrics["pca/accuracy"] = float(by_pca)
        rows.append(["linear probe, accuracy", f"{by_model:.1%}", f"{by_pca:.1%}"])
    table = Table("reconstruction of the test faces", ["", "model", f"PCA, {components} components"], rows)
    return Report(metrics, table, images={"reconstruction_by_identity": _by_identity(errors, test, faces)})


def _pixels(faces: FaceSet, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Flattened images (N, H * W * C) in [0, 1]."""
    return np.stack([faces.pixels[int(i)].ravel() for i in indices]) / 255.0


def _by_identity(errors: NDArray[np.float64], test: Outputs, faces: FaceSet) -> plots.Plot:
    people, person = np.unique(test.identities, return_inverse=True)
    means = np.bincount(person, weights=errors) / np.bincount(person)
    label_of = dict(zip(test.identities.tolist(), test.labels.tolist(), strict=True))
    names = [faces.label_names[label_of[int(p)]] for p in people]
    return plots.bars(np.sqrt(means), names, "reconstruction error by identity", "RMSE, grey levels in [0, 1]")
