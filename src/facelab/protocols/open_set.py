"""Operating points of open-set identification: FNIR at FPIR, with thresholds of the test or of other people."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from facelab.data.columns import Indices
from facelab.metrics.identification import (
    OpenSetCurve,
    falsely_returned,
    fnir,
    fpir,
    identified,
    open_set_curve,
    threshold_at_fpir,
)
from facelab.protocols.identification_intervals import fnir_intervals, share_interval
from facelab.protocols.intervals import Interval
from facelab.protocols.operating_points import supported
from facelab.protocols.searches import Searches


@dataclass(frozen=True)
class Point:
    """An operating point.

    Args:
        target: FPIR that must not be exceeded where the threshold was read.
        threshold: in the unit of the scores.
        fnir: on the test, with its 95 % interval.
        fpir: on the test, with its 95 % interval.
    """

    target: float
    threshold: float
    fnir: float
    fnir_interval: Interval
    fpir: float
    fpir_interval: Interval


@dataclass(frozen=True)
class OpenSet:
    """Results of open-set identification.

    Args:
        curve: FNIR over FPIR on the test.
        read: operating points whose threshold is read on the test.
        frozen: those whose threshold is read on other people.
    """

    curve: OpenSetCurve
    read: Sequence[Point]
    frozen: Sequence[Point]


def open_set(
    found: Searches,
    mated_people: Indices,
    non_mated_people: Indices,
    targets: Sequence[float],
    development: Searches | None,
) -> OpenSet:
    """Measure the FNIR at several FPIRs.

    Args:
        found: the searches of the test.
        mated_people: (N,) the person of each mated search.
        non_mated_people: (U,) the person of each non-mated search; U at least 1.
        targets: FPIRs that the searches of the test support.
        development: searches of other people, whose thresholds are then used on the test, for those targets that they
            support too; None for none.
    """
    own, ranks, best = (torch.from_numpy(values) for values in (found.own, found.ranks, found.best))

    def point(target: float, threshold: float, interval: Interval | None = None) -> Point:
        misses = ~identified(own, ranks, threshold).numpy()
        false = falsely_returned(best, threshold).numpy()
        return Point(
            target,
            threshold,
            fnir(own, ranks, threshold),
            interval or share_interval(misses, mated_people),
            fpir(best, threshold),
            share_interval(false, non_mated_people),
        )

    intervals = fnir_intervals(found.own, found.ranks, found.best, mated_people, non_mated_people, targets)
    read = [
        point(target, threshold_at_fpir(best, target), pair) for target, pair in zip(targets, intervals, strict=True)
    ]
    frozen = []
    if development is not None:
        theirs = torch.from_numpy(development.best)
        frozen = [point(t, threshold_at_fpir(theirs, t)) for t in supported(targets, len(theirs))]
    return OpenSet(open_set_curve(own, ranks, best), read, frozen)
