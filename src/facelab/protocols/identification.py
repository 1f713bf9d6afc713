"""Identification: find the person of an image in a gallery of enrolled people, all of them unseen in training."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.metrics.identification import fnir, threshold_at_fpir
from facelab.protocols import backends
from facelab.protocols.backends import Backend, Scoring
from facelab.protocols.base import Protocol, Report, Subject
from facelab.protocols.enrolment import Enrolment, draw_enrolment, enrolment_by_role, read_roles
from facelab.protocols.identification_report import RANKS, Tested, declared, identification_report, rank_rates
from facelab.protocols.open_set import open_set
from facelab.protocols.operating_points import left_out, rate_text, supported
from facelab.protocols.searches import Searches, search
from facelab.protocols.unseen import require_unseen

FPIRS = (1e-1, 1e-2, 1e-3)
_KEY = "protocol.identification"
_SEARCHES = "searches of people who are not enrolled"


class Identification(Protocol):
    """Closed-set and open-set identification of test people who are unseen in training.

    Some images of the enrolled people are the gallery; all other images are probes, one search each. Of several
    gallery images of a person, the mean of their embeddings, each of length 1, is enrolled. Closed set: rank-k rates
    and the CMC over the searches of enrolled people. Open set: FNIR at rank 1 at the threshold where the FPIR, over the
    searches of people who are not enrolled, does not exceed a target; once with the threshold read on the test, and
    once with the threshold of the validation people, enrolled and searched likewise, with the FPIR it then has on the
    test. See `facelab.metrics.identification` for the definitions.

    Args:
        enrolled: images of each enrolled person in the gallery, drawn; unused with `roles`.
        unenrolled_share: share of the people who are not enrolled, drawn; unused with `roles`.
        roles: who is where, instead of a draw: a column of the face set, or a CSV file with the columns `name` and
            `role`. `gallery` is enrolled, `probe` searched with, and anything else unused; people with probes only are
            not enrolled.
        seed: of the draw; independent of the training seed.
        fpir: FPIRs at which the FNIR is reported; null for those of 1e-1, 1e-2 and 1e-3 that the searches support.
        backend: scores embeddings; `lda` and `plda` are fitted to the training people.
    """

    chooses_thresholds = True

    def __init__(
        self,
        enrolled: Annotated[int, Field(ge=1)] = 1,
        unenrolled_share: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        roles: str | None = None,
        seed: Annotated[int, Field(ge=0)] = 0,
        fpir: list[Annotated[float, Field(gt=0, lt=1)]] | None = None,
        backend: Backend = "cosine",
    ) -> None:
        self.enrolled, self.unenrolled_share, self.roles = enrolled, unenrolled_share, roles
        self.seed, self.backend, self.fpir = seed, backend, fpir
        self.metrics = declared(self._asked)

    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Check that test people are unseen, enrolled, and searched for, and that they support `fpir`."""
        self._check_fpir(len(self._checked(splits, faces).non_mated))

    def check_validation(self, splits: Splits, faces: FaceSet) -> None:
        """As `check`; FPIRs that the validation people do not support are left out during training."""
        self._checked(splits, faces)

    def _checked(self, splits: Splits, faces: FaceSet) -> Enrolment:
        require_unseen(splits, faces, "protocol=identification")
        backends.check(self.backend, faces.identities[splits.train])
        test = np.sort(splits.test)
        identities = faces.identities[test]
        enrolment = self._enrolment(faces, test)
        remedy = (
            f"Correct {_KEY}.roles={self.roles}: gallery enrols an image, probe searches with it, other texts leave it "
            "out."
            if self.roles is not None
            else f"Lower {_KEY}.enrolled or {_KEY}.unenrolled_share, or choose a split with more test images."
        )
        if len(enrolment.people) < 2:
            raise ConfigError(
                f"{_KEY}: the gallery must hold at least two people, but {len(enrolment.people)} of the "
                f"{len(np.unique(identities)):,} test people are enrolled. {remedy}"
            )
        searched = len(np.unique(identities[enrolment.mated]))
        if searched < 2:
            raise ConfigError(
                f"{_KEY}: at least two of the enrolled people must have probes, but {searched} of "
                f"{len(enrolment.people):,} {'has' if searched == 1 else 'have'}. {remedy}"
            )
        return enrolment

    def _check_fpir(self, searches: int) -> None:
        if self.fpir is None:
            return
        if not searches:
            drawn = f"Raise {_KEY}.unenrolled_share"
            raise ConfigError(
                f"{_KEY}.fpir: the FPIR is a share of the searches of people who are not enrolled, but all test people "
                f"with probes are. {drawn if self.roles is None else 'Add people with probes only to the roles'}, or "
                f"remove {_KEY}.fpir."
            )
        refused = left_out("FPIR", f"{_KEY}.fpir", self.fpir, searches, _SEARCHES)
        if refused:
            raise ConfigError(f"{_KEY}.fpir: {refused} Correct it, or test on more people.")

    def needs_training_images(self, splits: Splits, faces: FaceSet) -> bool:
        """True for a backend that is fitted to training people."""
        return self.backend != "cosine"

    def measured(self, splits: Splits, faces: FaceSet) -> list[Metric]:
        """The rank-k rates with k below the number of enrolled people, and the FNIRs that the searches support."""
        enrolment = self._enrolment(faces, np.sort(splits.test))
        names = {f"rank_{k}" for k in RANKS if k < len(enrolment.people)}
        names |= {f"fnir_at_fpir_{rate_text(rate)}" for rate in supported(self._asked, len(enrolment.non_mated))}
        return [metric for metric in self.metrics if metric.name.removeprefix("identification/") in names]

    def measure(self, subject: Subject) -> dict[str, float]:
        """The metrics of `evaluate`, without those at frozen thresholds."""
        tested = self._search(subject, self._scoring(subject))
        own, ranks, best = (torch.from_numpy(of) for of in (tested.found.own, tested.found.ranks, tested.found.best))
        values = {f"rank_{k}": rate for k, rate in rank_rates(tested).items()}
        for target in supported(self._asked, len(best)):
            values[f"fnir_at_fpir_{rate_text(target)}"] = fnir(own, ranks, threshold_at_fpir(best, target))
        return {f"identification/{name}": value for name, value in values.items()}

    def evaluate(self, subject: Subject) -> Report:
        """Search the gallery with all probes; the backend is fitted to the training split."""
        scoring = self._scoring(subject)
        tested = self._search(subject, scoring)
        searches = len(tested.enrolment.non_mated)
        if not searches:
            return identification_report(tested, None, ())
        targets = supported(self._asked, searches)
        development, note = self._development(subject, scoring, targets)
        opened = open_set(tested.found, tested.mated_people, tested.non_mated_people, targets, development)
        missing = left_out("FPIR", f"{_KEY}.fpir", self._asked, searches, _SEARCHES)
        notes = [f"identification: {text}" for text in (missing, note) if text]
        return identification_report(tested, opened, notes)

    @property
    def _asked(self) -> Sequence[float]:
        return FPIRS if self.fpir is None else self.fpir

    def _scoring(self, subject: Subject) -> Scoring:
        return backends.fit(self.backend, subject.train.embeddings, subject.train.identities)

    def _search(self, subject: Subject, scoring: Scoring) -> Tested:
        test, enrolment = subject.test, self._enrolment(subject.faces, subject.test.indices)
        found = search(test.embeddings, test.identities, enrolment, scoring)
        return Tested(subject.faces, test, enrolment, found)

    def _enrolment(self, faces: FaceSet, images: Indices) -> Enrolment:
        """The enrolment among some images of the face set, given in ascending order."""
        identities = faces.identities[images]
        if self.roles is None:
            return draw_enrolment(identities, self.enrolled, self.unenrolled_share, self.seed)
        return enrolment_by_role(identities, read_roles(self.roles, faces, f"{_KEY}.roles")[images])

    def _development(self, subject: Subject, scoring: Scoring, targets: Sequence[float]) -> tuple[Searches | None, str]:
        """Searches of the validation people, and what to know about the thresholds they give."""
        if not targets:
            return None, ""
        val = subject.development
        if val is None:
            why = "there are no validation people" if subject.val is None else "validation people are also in training"
            return None, f"{why}, so thresholds are read on the test itself."
        enrolment = self._enrolment(subject.faces, val.indices)
        can = supported(targets, len(enrolment.non_mated))
        if not can or not len(enrolment.people):
            return None, (
                f"{len(enrolment.non_mated):,} searches of validation people who are not enrolled support no such "
                "threshold, so thresholds are read on the test itself."
            )
        theirs, ours = len(enrolment.people), len(self._enrolment(subject.faces, subject.test.indices).people)
        note = (
            f"thresholds for FPIR {', '.join(map(rate_text, can))} are also frozen on validation people, with "
            f"{theirs:,} enrolled; the test has {ours:,}, and FPIR grows with the gallery."
        )
        return search(val.embeddings, val.identities, enrolment, scoring), note
