"""Order the groups of a comparison by its first metric."""

import math
from collections.abc import Sequence

from facelab.compare.table import Group, Study, by_replicate, estimate_of
from facelab.tracking import ChildRow


def ranked_groups(study: Study, groups: Sequence[Group], most: int) -> list[Group]:
    """The best of the groups, the best first; groups without a value come last."""
    worst = math.inf if study.lowest_first else -math.inf

    def mean(group: Group) -> float:
        found = estimate_of(group, study.metrics[0]) if study.metrics else None
        return worst if found is None else found.mean

    return sorted(groups, key=mean, reverse=not study.lowest_first)[:most]


def best_groups(study: Study, groups: Sequence[Group], most: int) -> list[Group]:
    """All groups in their order; if they are more than `most`, the best of them, the best first."""
    return list(groups) if len(groups) <= most else ranked_groups(study, groups, most)


def has_value(study: Study, group: Group) -> bool:
    """Whether a group has a value of the first metric."""
    return bool(study.metrics) and estimate_of(group, study.metrics[0]) is not None


def uneven(study: Study) -> str:
    """A sentence if the groups have values of different replicates, of which some are harder; empty otherwise."""
    having = {frozenset(by_replicate(study, group)) for group in study.groups if has_value(study, group)}
    if not study.replicates or len(having) < 2:
        return ""
    names = " and ".join(study.replicates)
    return f"Not every setting has every {names}, so their means may differ for that reason alone."


def leader(study: Study) -> Group | None:
    """The group with the best mean; None without values, or if the next one is better on the replicates of both."""
    found = ranked_groups(study, [group for group in study.groups if has_value(study, group)], 2)
    if len(found) == 2 and uneven(study):
        first, second = (by_replicate(study, group) for group in found)
        ahead = sum(first[key] - second[key] for key in first.keys() & second.keys())
        if ahead > 0 if study.lowest_first else ahead < 0:
            return None
    return found[0] if found else None


def best_run(study: Study, group: Group) -> ChildRow:
    """The best run of a group; its first if none has a value."""
    rank = {run.id: number for number, run in enumerate(study.ranked)}
    return min(group.runs, key=lambda run: rank.get(run.id, len(rank)))
