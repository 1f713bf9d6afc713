"""What a study fixes before its first run."""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from facelab.config.compose import experiment_folder
from facelab.config.load import load_yaml
from facelab.errors import ConfigError
from facelab.studies.grid import Axes
from facelab.studies.rules import AnyGains, BetterThanAll, EachPays
from facelab.tracking import SweepRow

REGISTRATION, STUDY, _ARMS = "registration.toml", "study.yaml", "arm"
_PEOPLE_METRIC = "test/accuracy"  # of which each person's share is recorded, in predictions.csv
_FEWEST_REPLICATES = 3

Points = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Deviation:
    """An expected standard deviation of the paired differences.

    Args:
        replicates: over replicates, in points.
        people: of the mean differences of people, in points.
    """

    replicates: Points
    people: Points = 0.0


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Registration:
    """The question, the analysis and the rule of the verdict.

    Args:
        question: that the study answers.
        metric: that is compared; with intervals over people, test/accuracy.
        axes: swept keys.
        condition: short name of what the conditions are, such as `k`.
        intervals: over replicates, or over replicates and people; the latter takes the accuracy of each person.
        rule: of the verdict.
        expected: deviations for which the least detectable difference is shown.
        beside: arms that are shown with their difference from the rule's first arm, and decide nothing.
        people: number of test people, for intervals over people and only for these.
        names: of arms, shown instead of their text on the command line.
        generator_metrics: metrics of the runs that generated faces for an arm; they are shown beside its gain.
    """

    question: str
    metric: str
    axes: Axes
    condition: str
    intervals: Literal["replicates", "replicates_and_people"]
    rule: Annotated[BetterThanAll | AnyGains | EachPays, Field(discriminator="kind")]
    expected: Annotated[list[Deviation], Field(min_length=1)]
    beside: list[str] = field(default_factory=list)
    people: Annotated[int, Field(ge=1)] = 1
    generator_metrics: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def name(self, arm: str) -> str:
        """What an arm is called."""
        return self.names.get(arm, arm)

    @property
    def of_people(self) -> bool:
        """Whether intervals are over people as well."""
        return self.intervals == "replicates_and_people"


@dataclass(frozen=True)
class RegisteredStudy:
    """A study's folder, read.

    Args:
        folder: its folder in experiments/.
        plan: what is registered.
        digest: SHA-256 of registration.toml, study.yaml and the files of its arms, in hexadecimal.
        of_registration: SHA-256 of registration.toml alone, which is what earlier versions recorded.
        listed: all values of each axis, as text of the command line.
    """

    folder: Path
    plan: Registration
    digest: str
    of_registration: str
    listed: Mapping[str, Sequence[str]]

    @property
    def command(self) -> str:
        """The end of the command that makes its runs."""
        return f"+{self.folder.name}={Path(STUDY).stem}"

    @property
    def swept(self) -> set[str]:
        """Its keys with several values; one with a single value is no axis of the sweep."""
        return {key for key, texts in self.listed.items() if len(texts) > 1}

    @property
    def files(self) -> list[Path]:
        """What must not change after the first run."""
        return _files(self.folder, self.listed[self.plan.axes.arm])


def read_study(name: str) -> RegisteredStudy:
    """Read a study of experiments/.

    Args:
        name: of its folder.

    Raises:
        ConfigError: there is no such study, or its files do not fit together.
    """
    folder = experiment_folder(name, (REGISTRATION, STUDY))
    try:
        content = (folder / REGISTRATION).read_bytes()
        plan = TypeAdapter(Registration).validate_python(tomllib.loads(content.decode()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{folder / REGISTRATION} cannot be read ({error}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file as a whole"
        raise ConfigError(
            f"{folder / REGISTRATION}: {place}: {first['msg']}. Change it before the first run."
        ) from error
    listed = _listed(folder / STUDY)
    _refuse_misfit(folder, plan, listed)
    digest = hashlib.sha256(
        b"".join(hashlib.sha256(file.read_bytes()).digest() for file in _files(folder, listed[plan.axes.arm]))
    )
    return RegisteredStudy(folder, plan, digest.hexdigest(), hashlib.sha256(content).hexdigest(), listed)


def refuse_changed(study: RegisteredStudy, sweep: SweepRow) -> None:
    """Compare a study's files with those that a sweep was started with.

    Raises:
        ConfigError: they differ, or the sweep was started without a registration or with further overrides.
    """
    refuse_overrides(study, sweep.name, sweep.fixed, sweep.axes)
    if sweep.registration in (study.digest, study.of_registration):
        return
    if sweep.registration is None:
        raise ConfigError(
            f"study={study.folder.name}: the sweep '{sweep.name}' was not started from a registration, so nobody "
            f"can tell what was fixed before its runs. Start it with: python train.py {study.command}"
        )
    raise ConfigError(
        f"study={study.folder.name}: {REGISTRATION}, {STUDY} or the file of an arm in {study.folder} was changed after "
        f"the first run of the sweep '{sweep.name}' (SHA-256 {study.digest[:12]}, then {sweep.registration[:12]}). "
        f"Their text of then is among the artifacts of run {sweep.id}: change it back, or repeat the study under "
        "another sweep.name."
    )


def refuse_overrides(study: RegisteredStudy, name: str, fixed: Sequence[str], axes: Iterable[str]) -> None:
    """Compare the overrides of a sweep with those of a study.

    Args:
        study: as registered.
        name: of the sweep.
        fixed: its overrides that are no axes.
        axes: its swept keys.

    Raises:
        ConfigError: it sweeps other keys than the study, or fixes others than the study's own and those of the trainer.
    """
    registered, swept = study.swept, {key.lstrip("+~") for key in axes}
    if odd := sorted(swept ^ registered):
        raise ConfigError(
            f"study={study.folder.name}: the sweep '{name}' sweeps {', '.join(sorted(swept)) or 'nothing'}, and the "
            f"study {', '.join(sorted(registered))}; {odd[0]} is in one of them only. Leave out what the command adds "
            f"or narrows: python train.py {study.command}. For a trial beside the study, add sweep.study=null "
            "sweep.name=<name>."
        )
    if further := [one for one in fixed if not _belongs(one, study)]:
        raise ConfigError(
            f"study={study.folder.name}: the sweep '{name}' has further overrides, {', '.join(further)}, so it is not "
            f"the registered study. Leave them out: python train.py {study.command}. For a trial beside the study, add "
            "sweep.study=null sweep.name=<name>."
        )


def _belongs(override: str, study: RegisteredStudy) -> bool:
    """Whether an override is the study itself, the only value of an axis, or of the hardware."""
    key, _, value = override.lstrip("+~").partition("=")
    return override == study.command or study.listed.get(key) == [value] or key.split(".")[0] == "trainer"


def _files(folder: Path, arms: Sequence[str]) -> list[Path]:
    of_arms = (folder / _ARMS / f"{arm}.yaml" for arm in arms)
    return [folder / REGISTRATION, folder / STUDY, *(file for file in of_arms if file.is_file())]


def _listed(file: Path) -> dict[str, list[str]]:
    """All values of each axis of a study.yaml."""
    try:
        params = load_yaml(file)["hydra"]["sweeper"]["params"]
        parsed = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
        found = {one.get_key_element().lstrip("+~"): _values(one) for one in parsed}
    except (OSError, KeyError, TypeError, AttributeError, HydraException) as error:
        raise ConfigError(f"{file} has no axes under hydra.sweeper.params that can be read ({error}).") from error
    return found


def _values(override: Override) -> list[str]:
    values = override.sweep_string_iterator() if override.is_sweep_override() else [str(override.value())]
    return list(dict.fromkeys(values))


def _refuse_misfit(folder: Path, plan: Registration, listed: Mapping[str, Sequence[str]]) -> None:
    axes = (plan.axes.arm, plan.axes.condition, plan.axes.replicate)
    if set(axes) != set(listed):
        raise ConfigError(
            f"{folder / REGISTRATION}: axes are {', '.join(axes)}, but {STUDY} sweeps {', '.join(listed)}. "
            "Make them equal."
        )
    _refuse_odd_intervals(folder / REGISTRATION, plan, listed)
    named, arms = [*plan.rule.arms, *plan.beside], listed[plan.axes.arm]
    if unknown := plan.names.keys() - set(arms):
        raise ConfigError(f"{folder / REGISTRATION}: names: '{min(unknown)}' is no arm. Arms are {', '.join(arms)}.")
    odd = [*(set(named) - set(arms)), *(set(arms) - set(named))]
    if odd or len(set(named)) < len(named):
        wrong = f"'{sorted(odd)[0]}' is in one of them only" if odd else "an arm is named twice"
        raise ConfigError(
            f"{folder / REGISTRATION}: rule and beside must name each arm of {STUDY} once, but {wrong}. The arms are "
            f"{', '.join(arms)}."
        )


def _refuse_odd_intervals(file: Path, plan: Registration, listed: Mapping[str, Sequence[str]]) -> None:
    if len(listed[plan.axes.replicate]) < _FEWEST_REPLICATES:
        raise ConfigError(
            f"{file}: {STUDY} lists {len(listed[plan.axes.replicate])} values of {plan.axes.replicate}. List at least "
            f"{_FEWEST_REPLICATES}, better ten: intervals over fewer replicates say nothing."
        )
    if plan.of_people and (plan.metric != _PEOPLE_METRIC or plan.people < 2):
        raise ConfigError(
            f'{file}: intervals over people need metric = "{_PEOPLE_METRIC}", of which the share of each person is '
            f"recorded, and people = <number of test people>; got {plan.metric} and {plan.people}."
        )
    if not plan.of_people and (plan.people != 1 or any(one.people for one in plan.expected)):
        raise ConfigError(f'{file}: people goes with intervals = "replicates_and_people" only. Remove it.')
