"""What a sweep checks before it makes the runs of a registered study."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from facelab.config.build import build, nearest
from facelab.config.identity import determining
from facelab.errors import ConfigError
from facelab.metrics.declaration import find_metric
from facelab.models.trained import CONFIG
from facelab.runs.resume import read_config
from facelab.studies.registration import REGISTRATION, RegisteredStudy, read_study, refuse_overrides
from facelab.sweep.context import Context
from facelab.sweep.plan import Job
from facelab.tracking import ChildRow

_NAMED_KEYS = 5


def registered_study(context: Context, axes: Iterable[str], jobs: Sequence[Job]) -> RegisteredStudy | None:
    """The study that a sweep makes the runs of; None if it is of none.

    Args:
        context: of the sweep.
        axes: its swept keys.
        jobs: all of them.

    Raises:
        ConfigError: there is no such study, the sweep has other keys or further overrides, or its runs will not record
            the registered metric as a share.
    """
    if context.settings.study is None:
        return None
    study = read_study(context.settings.study)
    refuse_overrides(study, context.settings.name or context.plan.default_name, context.plan.identity, axes)
    _refuse_metric(study, jobs)
    return study


def _refuse_metric(study: RegisteredStudy, jobs: Sequence[Job]) -> None:
    configs = {json.dumps(job.config["protocol"], sort_keys=True): job.config["protocol"] for job in jobs}
    protocols = [protocol for one in configs.values() for protocol in build({"protocol": one})["protocol"].values()]
    declared = {metric.name: metric for protocol in protocols for metric in protocol.metrics}
    name, where = study.plan.metric, study.folder / REGISTRATION
    found = find_metric(name, declared)
    if found is None:
        raise ConfigError(
            f"{where}: metric: the study's protocols record no {name}.{nearest(name, list(declared))} They record "
            f"{', '.join(sorted(declared))}."
        )
    if found.unit != "share":
        raise ConfigError(
            f"{where}: metric: {name} ({found.title}) is no share between 0 and 1, so it has no points to gain. Take "
            f"one that is: {', '.join(sorted(one.name for one in declared.values() if one.unit == 'share'))}."
        )


def refuse_changed_configs(study: str, jobs: Iterable[Job], rows: Iterable[ChildRow], runs_folder: Path) -> None:
    """Compare a study's jobs with its finished runs: runs of two configs would stand in one grid.

    Args:
        study: its name.
        jobs: with resolved configs.
        rows: recorded runs of the sweep.
        runs_folder: where runs keep their files.

    Raises:
        ConfigError: a run has finished with another config.
    """
    finished: dict[str, list[ChildRow]] = {}
    for row in rows:
        if row.status == "FINISHED" and not row.superseded_by:
            finished.setdefault(json.dumps(dict(row.point), sort_keys=True), []).append(row)
    for job in jobs:
        done = finished.get(json.dumps(dict(job.point), sort_keys=True), [])
        if done and not any(map(job.made, done)):
            raise ConfigError(
                f"sweep.study={study}: the config of '{job.name}' is not the one that run {done[-1].id} has finished "
                f"with{_differing(job, done[-1], runs_folder)}. Change it back, or repeat the study under another "
                "sweep.name."
            )


def _differing(job: Job, row: ChildRow, runs_folder: Path) -> str:
    """Which keys of a run's config are others, if its folder is here, which of its needed runs, and its weights."""
    keys = [f"that of its {role.replace('_', ' ')}" for role in job.changed_needs(row)]
    keys += ["the weights in model.init_from"] if job.has_other_weights(row) else []
    if (runs_folder / row.id / CONFIG).is_file():
        now, then = (determining(config) for config in (job.config, read_config(runs_folder / row.id)))
        keys += sorted(key for key in now.keys() | then.keys() if now.get(key, "") != then.get(key, ""))
    return f" ({', '.join(keys[:_NAMED_KEYS])}{' and others' if len(keys) > _NAMED_KEYS else ''})" if keys else ""
