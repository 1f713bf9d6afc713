"""Images of the runs of a comparison, side by side."""

from dataclasses import dataclass

from facelab.compare.html import data_uri
from facelab.compare.ranking import best_run, ranked_groups
from facelab.compare.recorded import Recorded
from facelab.compare.shown import shown_value
from facelab.compare.table import Study, value_of
from facelab.tracking import ChildRow

# Of the best and the median run, each as wide as the page.
_OF_RUNS = {"confusion_matrix": "Confusion matrix", "confused_pairs": "Most confused classes"}
# Of the best run of each setting, side by side.
_OF_SETTINGS = {
    "samples": "Generated faces",
    "prior_samples": "Faces generated from the prior",
    "reconstructions": "Held-out faces and their reconstructions",
}
_MOST_SETTINGS = 8
_MOST_SINGLE = 4


@dataclass(frozen=True)
class Images:
    """Images of one kind.

    Args:
        title: what they show.
        is_wide: whether each is as wide as the page.
        shown: caption and data URI of each.
    """

    title: str
    is_wide: bool
    shown: list[tuple[str, str]]


def images(study: Study, recorded: Recorded) -> list[Images]:
    """Images of the best and the median run, or of all runs if they are few and not of a sweep; and of generators and
    autoencoders, those of the best run of each of the best settings.

    Raises:
        TrackingError: the store cannot be read.
    """
    ranked = study.ranked
    chosen = [("best: ", ranked[0])] if ranked else []
    chosen += [("median: ", ranked[len(ranked) // 2])] if len(ranked) > 1 else []
    if study.of_single_runs and len(ranked) <= _MOST_SINGLE:
        chosen = [("", run) for run in ranked]
    of_settings = [("", best_run(study, group)) for group in ranked_groups(study, study.groups, _MOST_SETTINGS)]
    found = []
    for titles, runs, is_wide in ((_OF_RUNS, chosen, True), (_OF_SETTINGS, of_settings, False)):
        read = [(rank, run, recorded.pictures(run, list(titles))) for rank, run in runs]
        for key, title in titles.items():
            shown = [
                (f"{rank}{_caption(study, run)}", data_uri("image/png", own[key]))
                for rank, run, own in read
                if key in own
            ]
            if shown:
                found.append(Images(title, is_wide, shown))
    return found


def _caption(study: Study, run: ChildRow) -> str:
    value = value_of(run, study.metrics[0]) if study.metrics else None
    shown = "" if value is None else f", {study.metrics[0]} {shown_value(study.metric(study.metrics[0]), value)}"
    return f"{run.name}{shown} ({run.id})"
