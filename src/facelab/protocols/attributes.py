"""Attributes: error rates by group of people or images, and the gaps between groups."""

import numpy as np
import torch

from facelab.config.build import nearest
from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.metrics.verification import eer_threshold, roc
from facelab.protocols import backends
from facelab.protocols.attributes_report import Groups, attributes_report
from facelab.protocols.backends import Backend, Compared, Scoring
from facelab.protocols.base import Protocol, Report, Subject
from facelab.protocols.groups import LEAST_PEOPLE, LEAST_TRIALS, ByGroup, Trials
from facelab.protocols.pairs import genuine_pairs, impostor_pairs
from facelab.protocols.probe import linear_probe
from facelab.protocols.unseen import require_unseen

_KEY = "protocol.attributes.column"


class Attributes(Protocol):
    """Error rates by the values of a column of the face set, such as gender, age or camera.

    If every test class has training images: the classification error of each group, of the model's head, or of the
    linear probe where it has none. Otherwise, for test people unseen in training: FMR and FNMR of each group at one
    threshold for all, over genuine and impostor pairs whose images are both in the group. The threshold is that of the
    equal error rate over all pairs of the validation people, or of the test people where there are none.

    A group with fewer than 10 people or 30 images, genuine pairs or impostor pairs is named and left out of the gaps.

    Args:
        column: of the face set; images without a value are left out.
        backend: scores pairs of embeddings; `lda` and `plda` are fitted to the training people.
    """

    metrics = (
        Metric("attributes/error_gap", "gap of the classification error", False, "share", headline=True),
        Metric("attributes/fmr_gap", "gap of the FMR", False, "share", headline=True),
        Metric("attributes/fnmr_gap", "gap of the FNMR", False, "share", headline=True),
        Metric("attributes/error_worst", "highest classification error of a group", False, "share"),
        Metric("attributes/fmr_worst", "highest FMR of a group", False, "share"),
        Metric("attributes/fnmr_worst", "highest FNMR of a group", False, "share"),
        Metric("attributes/groups", "groups compared", True),
        Metric("test/images", "test images", True, "images"),
    )
    chooses_thresholds = True

    def __init__(self, column: str, backend: Backend = "cosine") -> None:
        self.column, self.backend = column, backend

    def needs_training_images(self, splits: Splits, faces: FaceSet) -> bool:
        """True for a backend that is fitted to training people, and for the linear probe on seen classes."""
        return self.backend != "cosine" or _classes_are_seen(splits, faces)

    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Check that the column exists, that the test can be asked, and that two groups are large enough."""
        if self.column not in faces.columns:
            raise ConfigError(
                f"{_KEY}={self.column}: {faces.source} has no such column. Columns: "
                f"{', '.join(sorted(faces.columns))}.{nearest(self.column, list(faces.columns))}"
            )
        seen = _classes_are_seen(splits, faces)
        if not seen:
            require_unseen(splits, faces, "protocol=attributes")
            backends.check(self.backend, faces.identities[splits.train])
        groups = self._groups(faces, splits.test, seen)
        if len(groups.compared) < 2:
            of_each = "images" if seen else "genuine and impostor pairs"
            raise ConfigError(
                f"{_KEY}={self.column}: a gap needs two groups with at least {LEAST_PEOPLE} test people and "
                f"{LEAST_TRIALS} {of_each}; there are {len(groups.compared)}. {groups.sizes()} Choose a column with "
                "fewer values, or a split with more test people."
            )

    def measured(self, splits: Splits, faces: FaceSet) -> list[Metric]:
        """The classification errors for classes with training images, the FMRs and FNMRs for others."""
        other = ("fmr_", "fnmr_") if _classes_are_seen(splits, faces) else ("error_",)
        return [metric for metric in self.metrics if not metric.name.removeprefix("attributes/").startswith(other)]

    def evaluate(self, subject: Subject) -> Report:
        """Measure every group."""
        seen = _classes_are_seen(subject.splits, subject.faces)
        groups = self._groups(subject.faces, subject.test.indices, seen)
        if seen:
            return attributes_report(groups, {"error": _errors(subject, groups)}, [], len(subject.test.labels))
        scoring = backends.fit(self.backend, subject.train.embeddings, subject.train.identities)
        compared = scoring(subject.test.embeddings)
        threshold, note = _threshold(subject, scoring, compared)
        rates = {
            "fmr": _pair_errors(compared, groups, threshold, genuine=False),
            "fnmr": _pair_errors(compared, groups, threshold, genuine=True),
        }
        return attributes_report(groups, rates, [note], len(subject.test.labels))

    def _groups(self, faces: FaceSet, images: Indices, seen: bool) -> Groups:
        """The groups among some images, whether or not their classes are seen in training."""
        column = faces.columns[self.column]
        codes = column.codes[images]
        present, group = np.unique(np.append(codes, -1), return_inverse=True)
        _, person = np.unique(faces.identities[images], return_inverse=True)
        return Groups(self.column, [column.names[code] for code in present[1:]], group[:-1] - 1, person, not seen)


def _classes_are_seen(splits: Splits, faces: FaceSet) -> bool:
    return not len(np.setdiff1d(faces.labels[splits.test], faces.labels[splits.train]))


def _errors(subject: Subject, groups: Groups) -> ByGroup:
    """Classification errors by group."""
    train, test = subject.train, subject.test
    predicted = test.predicted
    if predicted is None:
        predicted = linear_probe(train.embeddings, train.labels, test.embeddings)
    kept = np.flatnonzero(groups.group >= 0)
    person = groups.person[kept]
    trials = Trials(groups.group[kept], (predicted != test.labels)[kept], person, person)
    return groups.measure(trials, "error")


def _pair_errors(compared: Compared, groups: Groups, threshold: float, genuine: bool) -> ByGroup:
    """FNMR (genuine pairs) or FMR (impostor pairs) by group, over pairs whose images are both in the group."""
    draw = genuine_pairs if genuine else impostor_pairs
    parts = []
    for number in range(len(groups.names)):
        members = np.flatnonzero(groups.group == number)
        pairs = draw(groups.person[members], groups.most_pairs)
        first, second = members[pairs.first], members[pairs.second]
        accepted = compared.pairs(first, second) >= threshold
        of_group = np.full(len(first), number)
        parts.append(Trials(of_group, accepted != genuine, groups.person[first], groups.person[second]))
    trials = Trials(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("group", "error", "first", "second"))
    )
    return groups.measure(trials, "fnmr" if genuine else "fmr")


def _threshold(subject: Subject, scoring: Scoring, test: Compared) -> tuple[float, str]:
    """The threshold of the equal error rate, and where it comes from."""
    val = subject.development
    if val is not None and _has_pairs(val.identities):
        threshold, pairs = _eer_threshold(scoring(val.embeddings), val.identities)
        return threshold, f"attributes: the threshold {threshold:.4g} is at the EER of {pairs} of validation people."
    threshold, pairs = _eer_threshold(test, subject.test.identities)
    return threshold, (
        f"attributes: the threshold {threshold:.4g} is at the EER of {pairs} of the test itself, since there are no "
        "validation people who are not in training."
    )


def _has_pairs(identities: Indices) -> bool:
    _, counts = np.unique(identities, return_counts=True)
    return len(counts) > 1 and int(counts.max()) > 1


def _eer_threshold(compared: Compared, identities: Indices) -> tuple[float, str]:
    """The threshold of the equal error rate over all pairs, and their numbers, in words."""
    pairs = genuine_pairs(identities), impostor_pairs(identities)
    scores = (torch.from_numpy(compared.pairs(kind.first, kind.second)) for kind in pairs)
    return eer_threshold(roc(*scores)), f"{len(pairs[0]):,} genuine and {len(pairs[1]):,} impostor pairs"
