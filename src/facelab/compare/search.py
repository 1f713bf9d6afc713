"""Hyperparameter importances of a search."""

import math
from collections.abc import Sequence
from typing import Any

from facelab.compare.figures import is_logarithmic, numbers
from facelab.compare.table import Study

_LEAST_TRIALS = 10


def importances(study: Study) -> dict[str, float]:
    """Hyperparameter importances for reaching the best trials, the largest first, summing to 1.

    Empty for fewer than ten trials.

    Source: S. Watanabe et al., "PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary subspaces",
    2023, as implemented in Optuna.
    """
    runs = study.ranked
    if study.search is None or len(runs) < _LEAST_TRIALS:
        return {}
    keys = [column for column in study.columns if column != "trial"]
    columns = {key: [run.point.get(key, "") for run in runs] for key in keys}
    drawn = {key: _drawn(texts) for key, texts in columns.items() if len(set(texts)) > 1}
    if not drawn:
        return {}
    import optuna  # deferred: takes half a second, only needed for searches

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rebuilt = optuna.create_study(direction="minimize" if study.lowest_first else "maximize")
    spaces = {key: space for key, (space, _) in drawn.items()}
    for number, run in enumerate(runs):
        values = {key: values[number] for key, (_, values) in drawn.items()}
        value = run.metrics[study.metrics[0]]
        rebuilt.add_trial(optuna.trial.create_trial(params=values, distributions=spaces, value=value))
    found = optuna.importance.get_param_importances(rebuilt)
    return found if all(map(math.isfinite, found.values())) else {}


def _drawn(texts: Sequence[str]) -> tuple[Any, Sequence[str | int | float]]:
    """Estimate the space that values were drawn from; returns it and the values in it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found = numbers(texts)
    if found is None:
        return CategoricalDistribution(sorted(set(texts))), texts
    low, high, logarithmic = min(found), max(found), is_logarithmic(found)
    if all(text.lstrip("+-").isdigit() for text in texts):
        return IntDistribution(int(low), int(high), log=logarithmic), [int(text) for text in texts]
    return FloatDistribution(low, high, log=logarithmic), found
