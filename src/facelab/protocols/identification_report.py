"""The report of identification: metrics, table, pictures, and a row per search."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.data.faces import IDENTITY, FaceSet
from facelab.metrics import Metric
from facelab.metrics.identification import cmc
from facelab.protocols import identification_plots, plots
from facelab.protocols.base import Outputs, Report, Table
from facelab.protocols.enrolment import Enrolment
from facelab.protocols.identification_intervals import share_interval
from facelab.protocols.intervals import Interval
from facelab.protocols.open_set import OpenSet, Point
from facelab.protocols.operating_points import rate_text
from facelab.protocols.searches import Searches

RANKS = (1, 5, 10)
_SHOWN_SEARCHES = 16


def declared(fpirs: Sequence[float]) -> tuple[Metric, ...]:
    """Declarations of the metrics at these FPIRs."""
    points = []
    for rate in map(rate_text, fpirs):
        frozen = f"at the validation people's threshold for FPIR {rate}"
        points += [
            Metric(f"identification/fnir_at_fpir_{rate}", f"FNIR at FPIR {rate}", False, "share", headline=True),
            Metric(f"identification/frozen_fnir_at_fpir_{rate}", f"FNIR {frozen}", False, "share"),
            Metric(f"identification/frozen_fpir_at_fpir_{rate}", f"FPIR {frozen}", False, "share"),
        ]
    return (
        *(Metric(f"identification/rank_{k}", f"rank-{k} rate", True, "share", headline=k == 1) for k in RANKS),
        *points,
        Metric("identification/enrolled", "people enrolled", True),
        Metric("identification/mated_searches", "searches of enrolled people", True),
        Metric("identification/non_mated_searches", "searches of people who are not enrolled", True),
        Metric("test/images", "test images", True, "images"),
    )


@dataclass(frozen=True)
class Tested:
    """What was searched, and found.

    Args:
        faces: the face set.
        test: outputs on the test split.
        enrolment: places of the gallery and of the probes in it.
        found: results of the searches.
    """

    faces: FaceSet
    test: Outputs
    enrolment: Enrolment
    found: Searches

    @property
    def mated_people(self) -> Indices:
        """(N,) the person of each mated search."""
        return self.test.identities[self.enrolment.mated]

    @property
    def non_mated_people(self) -> Indices:
        """(U,) the person of each non-mated search."""
        return self.test.identities[self.enrolment.non_mated]

    @property
    def cmc(self) -> NDArray[np.float64]:
        """(G,) rank-k rates from k = 1 on."""
        shares: NDArray[np.float64] = cmc(torch.from_numpy(self.found.ranks), len(self.enrolment.people)).numpy()
        return shares

    def name_of(self, identity: int) -> str:
        """The name of a person."""
        return str(self.faces.columns[IDENTITY].names[identity])


def rank_rates(tested: Tested) -> dict[int, float]:
    """Rank-k rates by k; within a rank of the number of enrolled people, every search finds its person."""
    shares = tested.cmc
    return {k: float(shares[k - 1]) for k in RANKS if k < len(shares)}


def identification_report(tested: Tested, opened: OpenSet | None, notes: Sequence[str]) -> Report:
    """Report closed-set and open-set identification.

    Args:
        tested: what was searched, and found.
        opened: the open-set results; None if all test people are enrolled.
        notes: what to know before the metrics are used.
    """
    enrolment, found = tested.enrolment, tested.found
    values: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    rows: list[list[str]] = []

    def add(name: str, title: str, value: float, interval: Interval) -> None:
        values[f"identification/{name}"], intervals[f"identification/{name}"] = value, interval
        rows.append([title, f"{value:.1%}", f"{interval[0]:.1%} to {interval[1]:.1%}"])

    for k, rate in rank_rates(tested).items():
        add(f"rank_{k}", f"rank-{k} rate", rate, share_interval(found.ranks <= k, tested.mated_people))
    for point in opened.read if opened else ():
        at = rate_text(point.target)
        add(f"fnir_at_fpir_{at}", f"FNIR at FPIR {at}", point.fnir, point.fnir_interval)
    for point in opened.frozen if opened else ():
        at = rate_text(point.target)
        frozen = f"at the frozen threshold for FPIR {at}"
        add(f"frozen_fnir_at_fpir_{at}", f"FNIR {frozen}", point.fnir, point.fnir_interval)
        add(f"frozen_fpir_at_fpir_{at}", f"FPIR {frozen}", point.fpir, point.fpir_interval)
    counts = {
        "identification/enrolled": float(len(enrolment.people)),
        "identification/mated_searches": float(len(enrolment.mated)),
        "identification/non_mated_searches": float(len(enrolment.non_mated)),
        "test/images": float(len(tested.test.labels)),
    }
    return Report(
        {**values, **counts},
        Table(_title(tested), ["", "test", "95 % interval"], rows),
        intervals,
        _images(tested, opened),
        {"searches": _rows(tested)},
        notes,
    )


def _title(tested: Tested) -> str:
    enrolment = tested.enrolment
    strangers = len(np.unique(tested.non_mated_people))
    open_part = f", {len(enrolment.non_mated):,} of {strangers:,} who are not" if strangers else ""
    return (
        f"identification of unseen people: {len(enrolment.people):,} enrolled with {len(enrolment.gallery):,} images; "
        f"{len(enrolment.mated):,} searches of {len(np.unique(tested.mated_people)):,} enrolled people{open_part}"
    )


def _images(tested: Tested, opened: OpenSet | None) -> dict[str, plots.Plot]:
    enrolled, mated = len(tested.enrolment.people), len(tested.enrolment.mated)
    drawn = {
        "cmc": identification_plots.cmc_curve(tested.cmc, f"{mated:,} searches of {enrolled:,} enrolled people"),
        "misidentified": _misidentified(tested),
    }
    if opened is not None:
        title = f"{mated:,} searches of enrolled people, {len(tested.found.best):,} of others"
        read, frozen = ({_caption(p): (p.fpir, p.fnir) for p in points} for points in (opened.read, opened.frozen))
        drawn["fnir_over_fpir"] = identification_plots.fnir_over_fpir(opened.curve, read, frozen, title)
    return drawn


def _caption(point: Point) -> str:
    return f"{rate_text(point.target)}: {point.fnir:.1%}"


def _misidentified(tested: Tested) -> plots.Plot:
    """Probes beside the enrolled person they were taken for, those with the highest wrong scores first."""
    enrolment, found = tested.enrolment, tested.found
    wrong = np.flatnonzero(found.ranks > 1)
    if not len(wrong):
        return plots.notice("no search is misidentified")
    wrong = wrong[np.argsort(-found.other_score[wrong], kind="stable")]
    owners = np.searchsorted(enrolment.people, tested.test.identities[enrolment.gallery])
    first_of = dict(zip(owners[::-1].tolist(), enrolment.gallery[::-1].tolist(), strict=True))
    images, captions = [], []
    for search in wrong[:_SHOWN_SEARCHES]:
        probe, person = int(enrolment.mated[search]), int(found.other[search])
        places = (probe, first_of[person])
        images += [tested.faces.pixels[int(tested.test.indices[place])] for place in places]
        captions += [
            f"{tested.name_of(int(tested.test.identities[probe]))}\nrank {found.ranks[search]}",
            f"taken for {tested.name_of(int(enrolment.people[person]))}\nscore {found.other_score[search]:.2f}",
        ]
    more = f", the {_SHOWN_SEARCHES} with the highest scores" if len(wrong) > _SHOWN_SEARCHES else ""
    return plots.face_grid(images, captions, title=f"{len(wrong):,} of {len(found.ranks):,} misidentified{more}")


def _rows(tested: Tested) -> list[list[object]]:
    """A row per search; columns of the right person are empty where they are not enrolled."""
    enrolment, found = tested.enrolment, tested.found
    names = [tested.name_of(person) for person in enrolment.people.tolist()]

    def search(place: int, rank: object, own: object, other: int, score: float) -> list[object]:
        image = tested.faces.names[int(tested.test.indices[place])]
        best = names[other] if other >= 0 else ""
        return [image, tested.name_of(int(tested.test.identities[place])), rank, own, best, f"{score:.6g}"]

    mated = zip(enrolment.mated, found.ranks, found.own, found.other, found.other_score, strict=True)
    non_mated = zip(enrolment.non_mated, found.nearest, found.best, strict=True)
    return [
        ["image", "identity", "rank", "score", "best_other", "best_other_score"],
        *(search(place, int(rank), f"{own:.6g}", other, score) for place, rank, own, other, score in mated),
        *(search(place, "", "", other, score) for place, other, score in non_mated),
    ]
