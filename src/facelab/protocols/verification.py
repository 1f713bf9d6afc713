"""Verification: decide whether two images show the same person, for people unseen in training."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.pair_list import PairList, has_only_pairs, is_of_pairs, own_pairs, read_pair_list
from facelab.data.splits.base import Splits
from facelab.data.splits.people import require_known
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.metrics.verification import Roc, auc, eer, tar_at_far
from facelab.protocols import backends
from facelab.protocols import verification_plots as plots
from facelab.protocols.backends import Backend
from facelab.protocols.base import Outputs, Protocol, Report, Subject, Table
from facelab.protocols.decision import Decision, decide
from facelab.protocols.intervals import accuracy_interval, verification_intervals
from facelab.protocols.operating_points import FARS, left_out, rate_text, refuse_other_fars, supported
from facelab.protocols.pairs import MOST_PAIRS, genuine_pairs, impostor_pairs
from facelab.protocols.plots import Plot
from facelab.protocols.roc_rows import roc_rows
from facelab.protocols.scored import Kind, Scored, score
from facelab.protocols.unseen import require_unseen

_BY_DEFAULT = FARS[:4]
_FAR = "protocol.verification.far"
_TITLES = {
    "auc": "area under the ROC curve",
    "eer": "equal error rate",
    **{f"tar_at_far_{rate_text(far)}": f"TAR at FAR {rate_text(far)}" for far in FARS},
    "accuracy": "balanced accuracy at the threshold",
}


class Verification(Protocol):
    """Verification of pairs of test images by the scores of their embeddings.

    Reports AUC, EER and TAR at FAR (1 - FNMR at FMR) as far as the number of impostor pairs supports them. With folds
    in the list of pairs, each fold is judged at the threshold that is best on all others (LFW's View 2; Huang et al.,
    2007, section 3), else at the one that is best on the pairs of the validation people. All intervals are 95 %, from
    a bootstrap over people. Of more than a million genuine or impostor pairs, it draws a million.

    Args:
        pairs: list of the pairs to compare: LFW's `pairs.txt` or `pairsDevTest.txt`, or a CSV with the columns `first`,
            `second`, `genuine` and optionally `fold`. None for all pairs of test images, or the pairs of a set that
            consists of pairs.
        backend: scores pairs of embeddings; `lda` and `plda` are fitted to the training people.
        far: the FARs of the TARs, among 1e-1, 1e-2, ..., 1e-6; None for those down to 1e-4 that the pairs support.

    Raises:
        ValueError: a FAR is none of these.
    """

    metrics = (
        Metric("verification/auc", _TITLES["auc"], True, "share"),
        Metric("verification/eer", _TITLES["eer"], False, "share", headline=True),
        *(
            Metric(
                f"verification/tar_at_far_{rate_text(far)}", f"TAR at FAR {rate_text(far)}", True, "share", far == 1e-2
            )
            for far in FARS
        ),
        Metric("verification/accuracy", _TITLES["accuracy"], True, "share", headline=True),
        Metric("verification/accuracy_standard_error", "standard error of the accuracy over folds", False, "share"),
        Metric("verification/threshold", "threshold of the accuracy", True),
        Metric("verification/genuine_pairs", "genuine pairs", True),
        Metric("verification/genuine_pairs_total", "genuine pairs there are", True),
        Metric("verification/impostor_pairs", "impostor pairs", True),
        Metric("verification/impostor_pairs_total", "impostor pairs there are", True),
        Metric("test/images", "test images", True, "images"),
    )
    chooses_thresholds: ClassVar[bool] = True

    def __init__(
        self, pairs: str | None = None, backend: Backend = "cosine", far: Sequence[float] | None = None
    ) -> None:
        refuse_other_fars(far)
        self.pairs, self.backend, self.far = pairs, backend, far

    def needs_training_images(self, splits: Splits, faces: FaceSet) -> bool:
        """True for a backend that is fitted to training people."""
        return self.backend != "cosine"

    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Check that test people are known and unseen, that both kinds of pairs exist, and that they support `far`."""
        listed = self._listed(faces, splits.test)
        if self.pairs is not None and listed is None:
            raise ConfigError(
                f"protocol.verification.pairs={self.pairs} names no pair of two test images. Set a split that tests "
                "the list's images, such as split=pair_folds, split=official with data.test_list, or split=all."
            )
        impostor = self._check(splits, faces, listed)
        refused = self._left_out(self.far or (), impostor)
        if refused:
            more = (
                "a list of pairs may hold more than are drawn here" if impostor >= MOST_PAIRS else "test on more images"
            )
            raise ConfigError(f"{_FAR}: {refused} Correct it, or {more}.")

    def check_validation(self, splits: Splits, faces: FaceSet) -> None:
        """As `check`; the list may name no pair of validation images, all of which are then compared, and FARs that the
        pairs do not support are left out during training.
        """
        self._check(splits, faces, self._listed(faces, splits.test))

    def measured(self, splits: Splits, faces: FaceSet) -> list[Metric]:
        """All but the TARs that the pairs do not support, and, without folds, what needs a threshold."""
        listed = self._listed(faces, splits.test)
        _, impostor = _count(splits, faces, listed)
        tars = {f"tar_at_far_{rate_text(far)}" for far in FARS} - {
            f"tar_at_far_{rate_text(far)}" for far in self._fars(impostor)
        }
        folds = 0 if listed is None else len(np.unique(listed.fold))
        decided = set() if folds > 1 else {"accuracy", "accuracy_standard_error", "threshold"}
        return [metric for metric in self.metrics if metric.name.rpartition("/")[2] not in tars | decided]

    def measure(self, subject: Subject) -> dict[str, float]:
        """The metrics of `evaluate`."""
        scored, decision = self._compared(subject)
        return _named(scored, _measured(scored.curve(), self._fars(len(scored.impostor))), decision, subject.test)

    def evaluate(self, subject: Subject) -> Report:
        """Compare test images; thresholds come from other folds or from the validation people."""
        scored, decision = self._compared(subject)
        curve, fars = scored.curve(), self._fars(len(scored.impostor))
        values = _measured(curve, fars)
        kinds = scored.genuine.pairs, scored.impostor.pairs
        intervals = verification_intervals(*kinds, scored.people, values, lambda of: _measured(of, fars))
        metrics = _named(scored, values, decision, subject.test)
        if decision is not None:
            values["accuracy"] = metrics["verification/accuracy"]
            intervals["accuracy"] = accuracy_interval(*kinds, scored.people, decision.thresholds)
        table = _table(scored, values, intervals, decision)
        missing = self._left_out(_BY_DEFAULT if self.far is None else self.far, len(scored.impostor))
        images = {
            "roc": plots.roc_curve(curve, values["auc"], values["eer"], fars),
            "det": plots.det_curve(curve, values["eer"]),
            "hardest_pairs": _hardest(subject.faces, scored),
            "verification": _page(subject, self.backend, scored, curve, fars, table, decision),
        }
        return Report(
            metrics,
            table,
            {f"verification/{name}": ends for name, ends in intervals.items()},
            images,
            {"roc": roc_rows(curve), **({"pairs": _rows(subject.faces, scored)} if scored.listed else {})},
            [f"verification: {missing}"] if missing else (),
        )

    def _compared(self, subject: Subject) -> tuple[Scored, Decision | None]:
        """Scored pairs of test images, and decisions on them."""
        scoring = backends.fit(self.backend, subject.train.embeddings, subject.train.identities)
        scored = self._score(subject.faces, subject.test, scoring)
        return scored, decide(scored, self._development(subject, scoring))

    def _listed(self, faces: FaceSet, images: NDArray[np.int64]) -> PairList | None:
        """The listed pairs of two of these images; None without a list, or if it names none of them."""
        if self.pairs is not None:
            found = read_pair_list(self.pairs, faces, "protocol.verification.pairs")
        elif is_of_pairs(faces):
            found = own_pairs(faces)
        else:
            return None
        found = found.within(images)
        return found if len(found) else None

    def _score(self, faces: FaceSet, outputs: Outputs, scoring: backends.Scoring) -> Scored:
        return score(outputs, faces, scoring, self._listed(faces, outputs.indices))

    def _development(self, subject: Subject, scoring: backends.Scoring) -> Scored | None:
        """Pairs of the validation people; None if there are none, or if they were trained on."""
        if subject.development is None:
            return None
        found = self._score(subject.faces, subject.development, scoring)
        return found if len(found.genuine) and len(found.impostor) else None

    def _fars(self, impostors: int) -> list[float]:
        return supported(_BY_DEFAULT if self.far is None else self.far, impostors)

    def _check(self, splits: Splits, faces: FaceSet, listed: PairList | None) -> int:
        """Check all but `far`; the number of impostor pairs."""
        backends.check(self.backend, faces.identities[splits.train])
        genuine, impostor = _count(splits, faces, listed)
        if listed is not None:
            _refuse_contradictions(faces, listed)
            _refuse_uneven_folds(listed)
        if not has_only_pairs(faces):
            require_unseen(splits, faces, "protocol=verification")
        if not genuine or not impostor:
            people = len(np.unique(faces.identities[splits.test]))
            raise ConfigError(
                f"protocol=verification needs genuine and impostor pairs; there are {genuine:,} genuine and "
                f"{impostor:,} impostor pairs among {len(splits.test):,} test images of {people:,} people. It takes at "
                "least 2 people, one of them with 2 images. Add images, or choose a split with more test people."
            )
        return impostor

    def _left_out(self, fars: Sequence[float], impostors: int) -> str:
        return left_out("FAR", _FAR, fars, impostors, "impostor pairs", FARS)


def _count(splits: Splits, faces: FaceSet, listed: PairList | None) -> tuple[int, int]:
    """Numbers of genuine and impostor pairs: of the list, or drawn from all pairs of test images."""
    if listed is not None:
        return int(listed.genuine.sum()), int((~listed.genuine).sum())
    require_known(faces, IDENTITY, splits.test, "protocol=verification")
    identities = faces.identities[splits.test]
    return len(genuine_pairs(identities)), len(impostor_pairs(identities))


def _refuse_uneven_folds(listed: PairList) -> None:
    folds = np.unique(listed.fold)
    for fold in folds if len(folds) > 1 else ():
        genuine = listed.genuine[listed.fold == fold]
        if genuine.all() or not genuine.any():
            raise ConfigError(
                f"protocol.verification.pairs: fold {fold} of {listed.name} has {int(genuine.sum()):,} genuine and "
                f"{int((~genuine).sum()):,} impostor pairs of test images. Expected both kinds in every fold. Correct "
                "the list, or leave its folds out."
            )


def _refuse_contradictions(faces: FaceSet, listed: PairList) -> None:
    same = np.flatnonzero(listed.first == listed.second)
    if len(same):
        raise ConfigError(
            f"protocol.verification.pairs: {len(same):,} pairs of {listed.name} compare an image with itself, such as "
            f"{faces.names[listed.first[same[0]]]}. Expected two images a pair. Delete them."
        )
    if not faces.has_identities:
        return
    wrong = np.flatnonzero((faces.identities[listed.first] == faces.identities[listed.second]) != listed.genuine)
    if len(wrong):
        first, second = (faces.names[index[wrong[0]]] for index in (listed.first, listed.second))
        kind = "genuine" if listed.genuine[wrong[0]] else "impostor"
        raise ConfigError(
            f"protocol.verification.pairs: {len(wrong):,} pairs of {listed.name} contradict the identities of the "
            f"images, such as {first} and {second}, which it calls {kind}. Correct the list or the identities."
        )


def _measured(curve: Roc, fars: Sequence[float]) -> dict[str, float]:
    """Metrics of a curve by name."""
    tars = {f"tar_at_far_{rate_text(far)}": tar_at_far(curve, far) for far in fars}
    return {"auc": auc(curve), "eer": eer(curve), **tars}


def _named(scored: Scored, values: Mapping[str, float], decision: Decision | None, test: Outputs) -> dict[str, float]:
    """All metrics, with their full names."""
    found = dict(values)
    if decision is not None:
        found |= {"accuracy": decision.accuracy(scored), "threshold": decision.mean}
        if decision.standard_error is not None:
            found["accuracy_standard_error"] = decision.standard_error
    for name, kind in (("genuine", scored.genuine), ("impostor", scored.impostor)):
        found |= {f"{name}_pairs": float(len(kind)), f"{name}_pairs_total": float(kind.total)}
    metrics = {f"verification/{name}": value for name, value in found.items()}
    return {**metrics, "test/images": float(len(test.labels))}


def _table(
    scored: Scored, values: dict[str, float], intervals: dict[str, tuple[float, float]], decision: Decision | None
) -> Table:
    rows = [
        [_TITLES[name], f"{value:.1%}", f"{intervals[name][0]:.1%} to {intervals[name][1]:.1%}"]
        for name, value in values.items()
    ]
    if decision is not None and decision.standard_error is not None:
        rows.append(["its standard error over folds", f"{decision.standard_error:.2%}", ""])
    pairs = f"{scored.genuine.counted} genuine and {scored.impostor.counted} impostor pairs"
    return Table(f"verification of unseen people, {pairs} ({scored.where})", ["", "test", "95 % interval"], rows)


def _hardest(faces: FaceSet, scored: Scored) -> Plot:
    chosen, scores = [], []
    for kind, sign in ((scored.genuine, 1), (scored.impostor, -1)):
        order = np.argsort(sign * kind.pairs.scores, kind="stable")[: plots.SHOWN_PAIRS]
        chosen.append(kind.images[order])
        scores += kind.pairs.scores[order].tolist()
    return plots.hardest_pairs(faces, chosen[0], chosen[1], scores)


def _page(
    subject: Subject,
    backend: Backend,
    scored: Scored,
    curve: Roc,
    fars: Sequence[float],
    table: Table,
    decision: Decision | None,
) -> Plot:
    fitted = "" if backend == "cosine" else f", fitted to {len(subject.train.labels):,} training images"
    lines = [
        f"data: {subject.faces.name}, {len(subject.test.labels):,} test images",
        f"pairs: {scored.genuine.counted} genuine, {scored.impostor.counted} impostor: {scored.where}",
        f"score: {backend}{fitted}",
        f"threshold: {decision.source if decision else 'none, since there are neither folds nor validation people'}",
        *(
            f"{title}: {value} ({interval})" if interval else f"{title}: {value}"
            for title, value, interval in table.rows
        ),
    ]
    eer_value = eer(curve)
    threshold = None if decision is None else decision.mean
    return plots.page(lines, scored.genuine.pairs, scored.impostor.pairs, curve, eer_value, fars, threshold)


def _rows(faces: FaceSet, scored: Scored) -> list[list[object]]:
    """Rows of every listed pair: names, kind, fold and score."""

    def of(kind: Kind, genuine: str) -> list[list[object]]:
        return [
            [faces.names[first], faces.names[second], genuine, int(fold), float(value)]
            for (first, second), fold, value in zip(kind.images, kind.fold, kind.pairs.scores, strict=True)
        ]

    return [["first", "second", "genuine", "fold", "score"], *of(scored.genuine, "yes"), *of(scored.impostor, "no")]
