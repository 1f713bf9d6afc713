"""Verification: decide whether two images show the same person, for people unseen in training."""

import numpy as np
import torch

from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.splits.base import Splits
from facelab.data.splits.people import require_known
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.metrics.verification import Roc, auc, eer, roc, tar_at_far
from facelab.protocols import backends, plots
from facelab.protocols.backends import Backend
from facelab.protocols.base import Protocol, Report, Subject, Table
from facelab.protocols.intervals import ScoredPairs, verification_intervals
from facelab.protocols.pairs import Pairs, genuine_pairs, impostor_pairs

FAR = 1e-2
_TITLES = {"auc": "area under the ROC curve", "eer": "equal error rate", "tar_at_far_1e-2": "TAR at FAR 1e-2"}


class Verification(Protocol):
    """Verification of pairs of test images by the scores of their embeddings.

    Reports `verification/auc`, `verification/eer` and `verification/tar_at_far_1e-2` (1 - FNMR at FMR 0.01), with 95 %
    intervals from a bootstrap over people, and the ROC curve. Of more than a million genuine or impostor pairs, it
    draws a million.

    Args:
        backend: scores pairs of embeddings; `lda` and `plda` are fitted to the training people.
    """

    metrics = (
        Metric("verification/auc", _TITLES["auc"], True, "share"),
        Metric("verification/eer", _TITLES["eer"], False, "share", headline=True),
        Metric("verification/tar_at_far_1e-2", _TITLES["tar_at_far_1e-2"], True, "share", headline=True),
        Metric("verification/genuine_pairs", "genuine pairs", True),
        Metric("verification/genuine_pairs_total", "genuine pairs there are", True),
        Metric("verification/impostor_pairs", "impostor pairs", True),
        Metric("verification/impostor_pairs_total", "impostor pairs there are", True),
        Metric("test/images", "test images", True, "images"),
    )

    def __init__(self, backend: Backend = "cosine") -> None:
        self.backend = backend

    @property
    def needs_training_images(self) -> bool:
        """True for a backend that is fitted to training people."""
        return self.backend != "cosine"

    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Check that test people are known and not in training or validation, and that both kinds of pairs exist."""
        require_known(faces, IDENTITY, splits.test, "protocol=verification")
        known = np.concatenate([splits.train, splits.val])
        shared = np.intersect1d(faces.identities[splits.test], faces.identities[known])
        if len(shared):
            raise ConfigError(
                f"protocol=verification expects test people unseen in training, but {len(shared)} test people are also "
                "in training or validation. Set split=identity_disjoint, or set protocol=classification for people "
                "seen in training."
            )
        people, counts = np.unique(faces.identities[splits.test], return_counts=True)
        if len(people) < 2 or counts.max() < 2:
            raise ConfigError(
                "protocol=verification needs genuine and impostor pairs: at least 2 test people, one of them with 2 "
                f"images; there are {len(people)} people with at most {counts.max()} images. Add images, or choose a "
                "split with more test people."
            )

    def evaluate(self, subject: Subject) -> Report:
        """Compare the test images with each other; the backend is fitted to the training split."""
        test = subject.test
        genuine, impostor = genuine_pairs(test.identities), impostor_pairs(test.identities)
        compared = backends.fit(self.backend, subject.train.embeddings, subject.train.identities)(test.embeddings)
        genuine_scores, impostor_scores = (compared.pairs(kind.first, kind.second) for kind in (genuine, impostor))
        curve = roc(torch.from_numpy(genuine_scores), torch.from_numpy(impostor_scores))
        values = _values(curve)
        people, person = np.unique(test.identities, return_inverse=True)
        scored_genuine = ScoredPairs(genuine_scores, person[genuine.first], person[genuine.second])
        scored_impostor = ScoredPairs(impostor_scores, person[impostor.first], person[impostor.second])
        intervals = verification_intervals(scored_genuine, scored_impostor, len(people), values, _values)
        metrics = {
            **{f"verification/{name}": value for name, value in values.items()},
            "verification/genuine_pairs": float(len(genuine)),
            "verification/genuine_pairs_total": float(genuine.total),
            "verification/impostor_pairs": float(len(impostor)),
            "verification/impostor_pairs_total": float(impostor.total),
            "test/images": float(len(test.labels)),
        }
        rows = [
            [_TITLES[name], f"{value:.1%}", f"{intervals[name][0]:.1%} to {intervals[name][1]:.1%}"]
            for name, value in values.items()
        ]
        pairs = f"{_counted(genuine)} genuine and {_counted(impostor)} impostor pairs"
        title = f"verification of {len(people):,} unseen people, {pairs}"
        drawn = plots.roc_curve(curve.far.numpy(), curve.tar.numpy(), values["auc"], values["eer"], FAR)
        return Report(
            metrics,
            Table(title, ["", "test", "95 % interval"], rows),
            {f"verification/{name}": pair for name, pair in intervals.items()},
            {"roc": drawn},
        )


def _values(curve: Roc) -> dict[str, float]:
    return {"auc": auc(curve), "eer": eer(curve), "tar_at_far_1e-2": tar_at_far(curve, FAR)}


def _counted(pairs: Pairs) -> str:
    return f"{len(pairs):,}" + (f" of {pairs.total:,}" if pairs.total > len(pairs) else "")
