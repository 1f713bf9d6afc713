"""The command `facelab evaluate`: evaluate finished runs on their own or on other faces."""

import copy
import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import facelab
from facelab.commands.train import dependencies_of
from facelab.compare.report import print_study
from facelab.compare.table import study_of_runs
from facelab.config.build import build, nearest
from facelab.config.check import check, plain
from facelab.config.command_line import RUNS_OWN
from facelab.config.compose import explain_composition
from facelab.config.texts import typed_arguments, typed_values
from facelab.errors import ConfigError
from facelab.models.finished import refuse_other_ids
from facelab.runs.embeddings import embeddings_place
from facelab.runs.evaluation import FinishedRun, PreparedEvaluation, evaluate_run
from facelab.runs.experiment import Evaluation, Seen
from facelab.system import make_console
from facelab.tracking import RecordedRun, Store, recorded_run, runs_by_id
from facelab.training.trainer import TrainerSettings


@dataclass(frozen=True)
class Evaluating:
    """The root of the `evaluate` config, without data, split and protocol, which are checked for each run.

    Args:
        tracking: the store of the runs.
        trainer: hardware and precision.
        run: id of a finished run.
        runs: ids of several runs, instead of one.
        embeddings: file for the embeddings; null for none.
        seen: whether a run may be evaluated on images or people it was trained on.
        runs_folder: where runs keep their files.
    """

    tracking: Store
    trainer: TrainerSettings
    run: str | None = None
    runs: list[str] | None = None
    embeddings: str | None = None
    seen: Seen = "refuse"
    runs_folder: str = "runs"


def evaluate_task(composed: DictConfig) -> None:
    """Evaluate one run or several, and compare them.

    Raises:
        FacelabError: an error the user can fix; nothing is recorded if it occurs before the first evaluation.
        KeyboardInterrupt: the user stopped it; the evaluation is closed as KILLED.
    """
    hydra = HydraConfig.get()
    config = plain(OmegaConf.masked_copy(composed, [str(key) for key in composed if key not in (*RUNS_OWN, "hydra")]))
    config = check(config, Evaluating, typed=typed_values(hydra))
    options = Evaluating(**build(config))
    ids = _ids(options)
    config["trainer"] |= dataclasses.asdict(options.trainer.resolved())
    place = None if options.embeddings is None else embeddings_place(options.embeddings)
    store, runs_folder = options.tracking, Path(options.runs_folder)
    found = [_recorded(store, run_id) for run_id in ids]
    prepared = [_prepared(run, options, config, hydra) for run in found]
    results = [evaluate_run(one, store, runs_folder, place, _command(one, hydra)) for one in prepared]
    if len(results) > 1:
        rows = [row for row in runs_by_id(store, [result.run_id for result in results]) if row is not None]
        print_study(make_console(), study_of_runs(rows, None))


def _command(prepared: PreparedEvaluation, hydra: Any) -> str:
    """The command line that evaluates one run again."""
    rest = [text for text in typed_arguments(hydra) if text.partition("=")[0] not in ("run", "runs", "embeddings")]
    typed = [text.removeprefix("+") if text[1:].startswith(RUNS_OWN) else text for text in rest]  # see `_as_changes`
    return shlex.join(["facelab", "evaluate", f"run={prepared.run.recorded.id}", *typed])


def _ids(options: Evaluating) -> list[str]:
    if (options.run is None) == (options.runs is None):
        given = "Neither run nor runs is given" if options.run is None else "Both run and runs are given"
        raise ConfigError(f"{given}. Type one of run=<run id> and runs=[<run id>,<run id>,...].")
    ids = list(dict.fromkeys(options.runs or [])) if options.run is None else [options.run]
    if not ids:
        raise ConfigError("runs: the list is empty. Give at least one run id; `facelab runs` lists them.")
    if options.embeddings is not None and len(ids) > 1:
        raise ConfigError("embeddings: this file is for one run. Give run=<run id> instead of runs.")
    if options.trainer.devices > 1:
        raise ConfigError(
            f"trainer.devices={options.trainer.devices}: an evaluation has one process. Type trainer=cpu or "
            "trainer=gpu."
        )
    return ids


def _recorded(store: Store, run_id: str) -> RecordedRun:
    refuse_other_ids(run_id)
    found = recorded_run(store, run_id)
    if found is None:
        raise ConfigError(
            f"run={run_id}: there is no such run in {store.uri}, which an evaluation is recorded beside. `facelab "
            "runs` lists the runs of a store; choose another one with tracking.folder=<folder>, or with "
            "tracking=server tracking.uri=<address>."
        )
    return found


def _prepared(recorded: RecordedRun, options: Evaluating, config: Mapping[str, Any], hydra: Any) -> PreparedEvaluation:
    run = FinishedRun.of(recorded, Path(options.runs_folder), options.tracking)
    own, typed = run.trained.config, typed_values(hydra)
    chosen = [group for group in RUNS_OWN if group in typed]  # Hydra's own record of choices lacks lists
    composed = _composed(run, hydra, chosen, typed)
    try:
        groups = {group: _group(group, own, composed, group in chosen) for group in RUNS_OWN}
        trainer = {key: value for key, value in config["trainer"].items() if key != "validations"}  # of training
        evaluation = {
            "evaluates": recorded.id,
            **groups,
            "model": own["model"],
            "trainer": trainer,
            "seed": own["seed"],
            "seen": options.seen,
        }
        checked = check(evaluation, Evaluation, typed=typed)
    except KeyError as error:
        raise ConfigError(
            f"run={recorded.id}: its config has no {error}. It was made by {recorded.made_by}."
        ) from error
    except ConfigError as error:
        if composed:  # more likely an error of the command line
            raise
        raise ConfigError(
            f"run={recorded.id}, made by {recorded.made_by}; this is facelab {facelab.__version__}. {error}"
        ) from error
    kept = {key: recorded.params[key] for key in (*RUNS_OWN, "model") if key in recorded.params and key not in chosen}
    choices = kept | {key: str(hydra.runtime.choices[key]) for key in chosen if key in hydra.runtime.choices}
    tracking = {**config["tracking"], "experiment": recorded.experiment}
    runtime = {**own.get("runtime", {}), "runs_folder": options.runs_folder}
    evaluated = {**own, **checked, "synthetic": None, "tracking": tracking, "runtime": runtime}
    dependencies = dependencies_of(evaluated, choices)
    return PreparedEvaluation.of(run, checked, choices, dependencies, options.tracking, Path(options.runs_folder))


def _composed(run: FinishedRun, hydra: Any, chosen: Sequence[str], typed: Mapping[str, str]) -> dict[str, Any]:
    """What the command line says of data, split and protocol, with the image size and channels of the model."""
    channels, height, _ = run.trained.metadata.image_shape
    sizes = {"data.image_size": height, "data.channels": channels}
    for key, size in sizes.items():
        if typed.get(key, str(size)) != str(size):
            raise ConfigError(
                f"{key}={typed[key]}: the images are read as the model of run {run.recorded.id} was trained, with "
                f"{key}={size}. Leave {key} out."
            )
    overrides = typed_arguments(hydra)
    if "data" in chosen:
        overrides += [f"{key}={size}" for key, size in sizes.items()]
    try:
        composed = compose("evaluate", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain_composition(error, "evaluate", overrides)) from error
    for group in chosen:
        if group not in composed:
            raise ConfigError(
                f"{group}={typed[group]}: this chooses nothing. Type {group}=<choice>, of those that --help lists, or "
                f"leave it out for the run's own."
            )
    return plain(OmegaConf.masked_copy(composed, [group for group in RUNS_OWN if group in composed]))


def _group(group: str, own: Mapping[str, Any], composed: Mapping[str, Any], is_chosen: bool) -> Any:
    """A config group as chosen, or else the run's own with the values of the command line."""
    return composed[group] if is_chosen else _changed(own[group], composed.get(group, {}), group)


def _changed(own: Mapping[str, Any], changes: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = copy.deepcopy(dict(own))
    for name, value in changes.items():
        if name not in found:
            known: Sequence[str] = [one for one in found if one not in ("_target_", "_partial_")]
            raise ConfigError(
                f"{key}.{name}: the run's own {key} has {', '.join(known)}.{nearest(name, known)} Choose another one "
                f"with {key.partition('.')[0]}=<choice>; --help lists the choices."
            )
        inner = found[name]
        is_node = isinstance(value, dict) and isinstance(inner, dict)
        found[name] = _changed(inner, value, f"{key}.{name}") if is_node else value
    return found
