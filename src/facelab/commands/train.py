"""The command `facelab train`: one run, a resumed run, or a sweep."""

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facelab.config.build import resolve_target
from facelab.config.check import check, plain
from facelab.config.compose import choices_of, explain_composition, overlays
from facelab.config.identity import NO_PART_OF_A_RUN
from facelab.config.needs import Need, NeedsRuns
from facelab.config.texts import typed_arguments, typed_values
from facelab.errors import ConfigError
from facelab.models.base import FaceModule
from facelab.protocols.base import Protocol
from facelab.runs.dependencies import Dependency
from facelab.runs.experiment import Experiment
from facelab.runs.run import resume, train
from facelab.sweep.controller import run_sweep
from facelab.sweep.executor import Place
from facelab.sweep.plan import Job, Plan, axis_name, divide, first_point
from facelab.sweep.search import Search, sampler_of
from facelab.sweep.settings import SweepSettings
from facelab.system import training_command

_NEEDED = " · needed"


@dataclass(frozen=True)
class TrainConfig(Experiment):
    """The root of the `train` config: an experiment, and settings to resume or sweep it.

    Args:
        resume: id of an interrupted run to resume; it keeps its own config.
        sweep: settings of a sweep; a single run ignores them.
        executor: where the runs of a sweep are executed.
        search: how a search draws its trials; null for all combinations of the swept values.
    """

    resume: str | None = None
    sweep: SweepSettings | None = None
    executor: Place | None = None
    search: Search | None = None


def check_training(composed: DictConfig) -> dict[str, Any]:
    """Check a composed training config.

    Returns:
        The config as plain dicts and lists.

    Raises:
        ConfigError: the config is invalid; the message lists all errors.
    """
    job = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    section = composed.get("hydra") or (HydraConfig.get() if HydraConfig.initialized() else None)
    typed = typed_values(section) if section else {}
    return check(plain(job), TrainConfig, overlays=overlays(), typed=typed)


def dependencies_of(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, Dependency]:
    """Compose and check the runs that a run depends on, by role: those of its protocols and of its synthetic faces.

    Args:
        config: the checked config of the run.
        choices: the file chosen in each of its config groups.

    Raises:
        ConfigError: the config of a dependency is invalid or does not suit the component that needs it.
    """
    model = cast(type[FaceModule], resolve_target(config["model"]["_target_"]))
    components = {f"protocol.{name}": node for name, node in config["protocol"].items()}
    if config.get("synthetic") is not None:
        components["synthetic"] = config["synthetic"]
    found = {}
    for key, node in components.items():
        component = cast(type[NeedsRuns], resolve_target(node["_target_"]))
        if issubclass(component, Protocol) and not component.can_evaluate(model):
            continue
        for need in component.needs(node, config):
            dependency = _composed(need, node[need.name], f"{key}.{need.name}")
            try:
                component.check_dependency(need.name, dependency.config, node)
            except ConfigError as error:
                raise ConfigError(f"{key}.{need.name}: {error}") from error
            found[need.name] = _adapted(dependency, config, choices)
    return found


def _composed(need: Need, described: Sequence[str], key: str) -> Dependency:
    overrides = [*described, *need.overrides]
    try:
        _refuse_unused(overrides, need)
        composed = compose("train", overrides, return_hydra_config=True)
        config = check_training(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{key}: {explain_composition(error, 'train', overrides)}") from error
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error
    return Dependency(config, choices_of(composed.hydra, config), need)


def _refuse_unused(overrides: Sequence[str], need: Need) -> None:
    """Refuse overrides of a dependency that would have no effect, since `_adapted` replaces their values."""
    for override in OverridesParser.create().parse_overrides([*overrides]):
        text = override.input_line
        if override.is_sweep_override():
            raise ConfigError(
                f"'{text}': these overrides describe one run, so each takes one value. To compare several, sweep the "
                "whole list: type -m, and each list in quotes, with a comma between them."
            )
        key = override.key_or_group
        if key.partition(".")[0] in (*NO_PART_OF_A_RUN, *need.same, "name", "hydra") or key == "trainer.accelerator":
            raise ConfigError(
                f"'{text}' has no effect: {key} of this run is that of the run that needs it, or is not used. Remove "
                "it from the list; set it for the whole command if you mean both."
            )


def _adapted(dependency: Dependency, config: Mapping[str, Any], choices: Mapping[str, str]) -> Dependency:
    """Give a dependency what it shares with the run that needs it: accelerator, store, runtime and `same`.

    One that does not share the data, a face classifier, gets the same channels and, if its config names no faces, the
    same data as its faces.
    """
    own, its_choices, need = dict(dependency.config), dict(dependency.choices), dependency.need
    for key in need.same:
        own[key], its_choices[key] = config[key], choices.get(key, "")
    if "data" not in need.same:
        own["data"] = {**own["data"], "channels": config["data"]["channels"]}
        if own["data"].get("faces", config) is None:
            own["data"]["faces"] = config["data"]
    # In a separate experiment: dependencies are not compared with the runs that need them, nor registered beside them.
    experiment = config["tracking"]["experiment"]
    needed = experiment if experiment.endswith(_NEEDED) else f"{experiment}{_NEEDED}"
    own["tracking"] = {**config["tracking"], "experiment": needed, "register": None}
    own["trainer"] = {**own["trainer"], "accelerator": config["trainer"]["accelerator"]}
    own["runtime"], own["name"] = config["runtime"], need.name.replace("_", " ")
    return Dependency(own, its_choices, need, dependencies_of(own, its_choices))


def train_task(composed: DictConfig) -> None:
    """Train one model, or resume a run: the task of `facelab train` without `-m`."""
    config = check_training(composed)
    if config.get("resume") is not None:
        typed = typed_values(HydraConfig.get()).keys()
        resume(config["resume"], config, plain(compose("train")), typed, lambda its: dependencies_of(its, {}))
        return
    _refuse_sweep_keys(config, typed_arguments(HydraConfig.get()))
    _tell_unused_length(config, typed_values(HydraConfig.get()))
    choices = choices_of(HydraConfig.get(), config)
    command = training_command(typed_arguments(HydraConfig.get()))
    train(config, choices, dependencies_of(config, choices), command)


def _refuse_sweep_keys(config: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Raise if a command without `-m` sets keys that only a sweep uses, itself or by an experiment (`+`)."""
    keys = ("search", "executor", "sweep")
    if not any(re.match(rf"[+~]|({'|'.join(keys)})\b", word) for word in arguments):
        return  # without composing the default
    default = OmegaConf.to_container(compose("train"))
    for key in keys:
        if config.get(key) != cast(dict[str, Any], default).get(key):
            raise ConfigError(f"{key}: only sweeps use this key. Add -m, as in: {training_command()} -m {key}...")


def _tell_unused_length(config: Mapping[str, Any], typed: Collection[str]) -> None:
    """Tell the user if a limit on the images or passes leaves a typed length without effect."""
    recipe = config["model"].get("recipe") or {}
    limit = next((key for key in ("max_images", "max_epochs") if recipe.get(key) is not None), None)
    if limit is not None and any(key.startswith("model.recipe.length.") for key in typed):
        print(f"Note: model.recipe.length has no effect, since model.recipe.{limit}={recipe[limit]} is set.")


def sweep(config: DictConfig, loader: ConfigLoader, overrides: Sequence[str]) -> int:
    """Run a sweep: all combinations of the overrides, or a search over them.

    Args:
        config: Hydra's config of the sweep.
        loader: composes the config of a job.
        overrides: of the experiment and then of the command line.

    Returns:
        Exit status, as for `main`.

    Raises:
        FacelabError: an error the user can fix; errors in the config appear before any job starts.
    """

    def job(chosen: Sequence[str], point: Mapping[str, str]) -> Job:
        try:
            composed = loader.load_sweep_config(config, [*chosen])
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain_composition(error, "train", chosen)) from error
        checked = check_training(composed)
        choices = choices_of(composed.hydra, checked)
        return Job(point, checked, choices, dependencies_of(checked, choices))

    axes, fixed = divide(OverridesParser.create(config_loader=loader).parse_overrides([*overrides]))
    if any(axis_name(override) == "resume" for override in (*axes, *fixed)):
        raise ConfigError("resume: this key resumes a single run; remove -m. To resume a sweep, repeat its command.")
    plan = Plan(axes, fixed, training_command(sys.argv[1:]), job)
    base = plan.compose(first_point(axes))  # fixed overrides alone may not compose: a key may belong to a swept choice
    return run_sweep(replace(plan, sampler=sampler_of(base.config.get("search"))), base)
