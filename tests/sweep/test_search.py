"""A search draws what it should, forgets nothing when its process dies, and never chooses by test faces."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import FloatDistribution, IntDistribution

from facelab.commands.train import check_training
from facelab.config.build import build
from facelab.config.compose import config_folder
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.sweep.samplers import at, place_of
from facelab.sweep.search import CMAES, TPE, Grid, Random, Search, sampler_of
from facelab.sweep.space import Space, read_space
from facelab.sweep.study import RecordedStudy

SAMPLERS: dict[str, Callable[..., Search]] = {"tpe": TPE, "random": Random, "cmaes": CMAES}


def space_of(*axes: str) -> Space:
    return read_space(OverridesParser.create().parse_overrides(list(axes)))


NUMBERS = space_of("lr=interval(1e-4,1e-1)", "width=int(interval(1,64))", "decay=range(0,1,0.1)")
MIXED = space_of("lr=interval(1e-4,1e-1)", "model=cnn,gan", "width=int(interval(1,64))", "one=choice(5)")
SMALL = space_of("model=cnn,gan", "k=range(1,4)", "drop=0.0,0.5")


def score(overrides: Mapping[str, str]) -> float:
    """Best at lr = 0.01, width = 32."""
    lr, width = float(overrides["lr"]), float(overrides["width"])
    return -((math.log10(lr) + 2) ** 2) - ((width - 32) / 32) ** 2 - (overrides.get("model") == "gan")


def go_on(study: RecordedStudy, asked: dict[int, Mapping[str, str]], until: int) -> None:
    """Try configs one at a time until so many were asked for; the fifth of every seven fails, the sixth is stopped."""
    for begun in study.unfinished():
        assert asked[begun.number] == begun.overrides
        end(study, begun.number, begun.overrides)
    while len(asked) < until:
        trial = study.ask()
        assert trial is not None
        assert trial.number == len(asked)
        asked[trial.number] = trial.overrides
        end(study, trial.number, trial.overrides)


def end(study: RecordedStudy, number: int, overrides: Mapping[str, str]) -> None:
    study.should_prune(number, 100, score(overrides) - 1)
    if number % 7 == 4:
        study.fail(number)
    elif number % 7 == 5:
        study.prune(number)
    else:
        study.tell(number, score(overrides))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("seed", [0, 5])
def test_an_interrupted_search_asks_for_what_an_uninterrupted_one_does(tmp_path: Path, sampler: str, seed: int) -> None:
    space = NUMBERS if sampler == "cmaes" else MIXED
    search = SAMPLERS[sampler](trials=40, seed=seed)
    whole: dict[int, Mapping[str, str]] = {}
    study = RecordedStudy(tmp_path / "whole.log", "s", search, space)
    go_on(study, whole, 40)
    assert study.ask() is None
    assert len({tuple(overrides.items()) for overrides in whole.values()}) > 35

    pieces: dict[int, Mapping[str, str]] = {}
    for until in (1, 2, 11, 12, 25, 33, 39, 40):
        study = RecordedStudy(tmp_path / "pieces.log", "s", search, space)
        go_on(study, pieces, until)
        if until < 40:  # asked for, and never told
            trial = study.ask()
            assert trial is not None
            pieces[trial.number] = trial.overrides
    assert pieces == whole

    other = RecordedStudy(tmp_path / "other.log", "s", SAMPLERS[sampler](trials=40, seed=seed + 1), space).ask()
    assert other is not None
    assert other.overrides != whole[0]


@pytest.mark.parametrize("sampler", [*SAMPLERS, "grid"])
def test_dying_at_any_line_of_the_file_changes_nothing(tmp_path: Path, sampler: str) -> None:
    """The file is cut after every line, and in the midst of it, while trials are drawn and told."""
    space = SMALL if sampler == "grid" else NUMBERS
    search = Grid() if sampler == "grid" else SAMPLERS[sampler](trials=12, startup_trials=3)

    def value(overrides: Mapping[str, str]) -> float:
        return float(overrides["k"]) if sampler == "grid" else score(overrides)

    def run(study: RecordedStudy) -> dict[int, Mapping[str, str]]:
        asked = {}
        for begun in study.unfinished():
            asked[begun.number] = begun.overrides
            study.tell(begun.number, value(begun.overrides))
        while (trial := study.ask()) is not None:
            asked[trial.number] = trial.overrides
            study.tell(trial.number, value(trial.overrides))
        return asked

    whole = run(RecordedStudy(tmp_path / "whole.log", "s", search, space))
    lines = (tmp_path / "whole.log").read_bytes().splitlines(keepends=True)
    for count in range(0, len(lines), 3):
        torn = tmp_path / "torn.log"
        torn.write_bytes(b"".join(lines[:count]) + lines[count][: len(lines[count]) // 2])
        study = RecordedStudy(torn, "s", search, space)
        rest = run(study)
        assert rest == {number: whole[number] for number in rest}
        assert study.counts()["finished"] == 12
        assert study.best() == RecordedStudy(tmp_path / "whole.log", "s", search, space).best()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_dying_while_several_trials_run_changes_no_draw(tmp_path: Path, sampler: str) -> None:
    """Four at a time, that end in another order than they began in; every third is stopped early or fails."""
    study, running = RecordedStudy(tmp_path / "study.log", "s", SAMPLERS[sampler](trials=32), NUMBERS), []
    while (trial := study.ask()) is not None:
        running.append(trial)
        if len(running) == 4:
            ended = running.pop(trial.number % 3)
            if ended.number % 3:
                study.tell(ended.number, score(ended.overrides))
            else:
                (study.prune if ended.number % 2 else study.fail)(ended.number)
    lines = (tmp_path / "study.log").read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if "drawn" in line:
            (tmp_path / "cut.log").write_text("".join(lines[:number]))
            RecordedStudy(tmp_path / "cut.log", "s", SAMPLERS[sampler](trials=32), NUMBERS).ask()
            assert (tmp_path / "cut.log").read_text() == "".join(lines[: number + 1])


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(-2, 6),
        FloatDistribution(1e-4, 1e-1, log=True),
        IntDistribution(3, 9),
        IntDistribution(1, 640, log=True),
    ],
)
def test_places_in_a_range_are_those_of_optuna(distribution: FloatDistribution | IntDistribution) -> None:
    theirs = _SearchSpaceTransform({"x": distribution}, transform_log=True, transform_step=True, transform_0_1=True)
    for place in np.linspace(0, 1, 101):
        assert at(distribution, place) == pytest.approx(theirs.untransform(np.array([place]))["x"])
    for value in {at(distribution, place) for place in np.linspace(0, 1, 101)}:
        assert place_of(distribution, value) == pytest.approx(theirs.transform({"x": value})[0])
        assert at(distribution, place_of(distribution, value)) == pytest.approx(value)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_search_finds_what_is_good(tmp_path: Path, sampler: str) -> None:
    search = SAMPLERS[sampler](trials=60, prune=False)
    study = RecordedStudy(tmp_path / "study.log", "s", search, space_of("lr=interval(1e-4,1)", "width=interval(0,64)"))
    values = []
    while (trial := study.ask()) is not None:
        values.append(score(trial.overrides))
        study.tell(trial.number, values[-1])
    best = study.best()
    assert best is not None
    assert best[1] == max(values) > -0.02
    assert score(best[2]) == best[1]
    assert sum(values[-20:]) / 20 > sum(values[:20]) / 20


def test_parallel_trials_differ_and_may_end_in_any_order(tmp_path: Path) -> None:
    for sampler, make in SAMPLERS.items():
        study = RecordedStudy(tmp_path / f"{sampler}.log", "s", make(trials=24), NUMBERS)
        running = [trial for trial in (study.ask() for _ in range(4)) if trial is not None]
        seen = {tuple(trial.overrides.items()) for trial in running}
        while running:
            trial = running.pop(len(seen) % len(running))
            study.tell(trial.number, score(trial.overrides))
            if (following := study.ask()) is not None:
                running.append(following)
                seen.add(tuple(following.overrides.items()))
        assert len(seen) == 24
        assert study.counts() == {"finished": 24, "pruned": 0, "failed": 0, "running": 0}


def test_a_grid_gives_each_point_once_in_the_order_of_a_plain_sweep(tmp_path: Path) -> None:
    points: list[tuple[str, ...]] = []
    for stop_at in (3, 4, 9, 13):
        study = RecordedStudy(tmp_path / "grid.log", "s", Grid(), SMALL)  # reopened
        for begun in study.unfinished():
            study.fail(begun.number)
        while len(points) < stop_at and (trial := study.ask()) is not None:
            points.append(tuple(trial.overrides.values()))
            if len(points) % 2:
                study.tell(trial.number, 1.0)
    assert points == [(m, k, d) for m in ("cnn", "gan") for k in "123" for d in ("0.0", "0.5")]
    assert study.ask() is None
    some = RecordedStudy(tmp_path / "some.log", "s", Grid(trials=2), SMALL)
    assert [some.ask() is None for _ in range(3)] == [False, False, True]


def test_more_trials_go_on_with_a_search_that_was_done(tmp_path: Path) -> None:
    def asked(trials: int, path: str) -> list[Mapping[str, str]]:
        study, found = RecordedStudy(tmp_path / path, "s", TPE(trials=trials), MIXED), []
        while (trial := study.ask()) is not None:
            found.append(trial.overrides)
            study.tell(trial.number, score(trial.overrides))
        return found

    assert asked(12, "grown.log") + asked(20, "grown.log") == asked(20, "whole.log")
    assert asked(5, "grown.log") == []


def test_nan_and_crashes_are_failed_trials(tmp_path: Path) -> None:
    study = RecordedStudy(tmp_path / "study.log", "s", TPE(trials=30, startup_trials=2), MIXED)
    assert study.best() is None
    for number in range(30):
        trial = study.ask()
        assert trial is not None
        if number % 3 == 0:
            study.tell(number, [math.nan, math.inf, -math.inf][number // 3 % 3])
        elif number % 3 == 1:
            assert not study.should_prune(number, 10, math.nan)
            study.fail(number)
        else:
            study.tell(number, score(trial.overrides))
            study.fail(number)  # it has ended already: no error, no change
            study.tell(number, 100.0)
            assert not study.should_prune(number, 20, 0.0)
    assert study.counts() == {"finished": 10, "pruned": 0, "failed": 20, "running": 0}
    best = study.best()
    assert best is not None
    assert best[0] % 3 == 2
    assert best[1] == score(best[2])


def test_the_best_is_the_first_of_equals_in_the_direction_asked_for(tmp_path: Path) -> None:
    for direction, number in (("maximize", 1), ("minimize", 0)):
        study = RecordedStudy(tmp_path / f"{direction}.log", "s", Random(direction=direction), SMALL)  # type: ignore[arg-type]
        for value in (0.1, 0.9, 0.9, 0.1):
            trial = study.ask()
            assert trial is not None
            study.tell(trial.number, value)
        study.ask()
        best = study.best()
        assert best is not None
        assert best[0] == number


def test_a_metric_is_optimised_in_its_declared_direction_unless_one_is_given() -> None:
    declared = [Metric("loss", "loss", False), Metric("test/f1", "F1", True), Metric("verification/eer", "EER", False)]
    found = {
        (metric, given): TPE(metric=metric, direction=given).directed(declared).direction
        for metric in ("val/loss", "val/f1", "val/verification/eer", "val/odd")
        for given in (None, "maximize", "minimize")
    }
    assert [found[metric, None] for metric in ("val/loss", "val/f1", "val/verification/eer", "val/odd")] == [
        *("minimize", "maximize", "minimize", "maximize")
    ]
    assert all(direction == given for (_, given), direction in found.items() if given)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_trials_below_the_median_are_stopped(tmp_path: Path, direction: str) -> None:
    """By hand: at 100 images the finished trials have 1, 2, 3; at 200 images 5, 6, 7. Medians 2 and 6."""
    sign = 1 if direction == "maximize" else -1
    search = Random(direction=direction, startup_trials=3, warmup_images=100)  # type: ignore[arg-type]
    study = RecordedStudy(tmp_path / "study.log", "s", search, SMALL)

    def judge(number: int, images: int, value: float) -> bool:
        return study.should_prune(number, images, sign * value)

    for number, (early, late) in enumerate([(1, 5), (2, 6), (3, 7)]):
        study.ask()
        assert not judge(number, 50, 0)
        assert not judge(number, 100, early)  # too few have finished
        assert not judge(number, 200, late)
        study.tell(number, sign * late)
    for _ in range(3):
        study.ask()
    assert not judge(3, 50, -9)  # has seen too little
    assert judge(3, 100, 1.9)
    assert judge(3, 100, 1.9)  # the same again
    study.prune(3)
    assert not judge(3, 200, 0)
    assert not judge(4, 100, 2.1)
    study = RecordedStudy(tmp_path / "study.log", "s", search, SMALL)  # goes on from a checkpoint
    assert not judge(4, 50, 0)
    assert not judge(4, 100, 2.1)
    assert judge(4, 200, 5.9)
    assert not judge(5, 100, 9)
    assert not judge(5, 200, 0)  # its best so far is above
    assert study.counts() == {"finished": 3, "pruned": 1, "failed": 0, "running": 2}
    without = Random(direction=direction, startup_trials=3, prune=False)  # type: ignore[arg-type]
    assert not RecordedStudy(tmp_path / "study.log", "s", without, SMALL).should_prune(4, 200, sign * 5.9)


@pytest.mark.parametrize(
    ("search", "space", "complaint"),
    [
        (TPE(metric="test/f1"), SMALL, "search.metric=test/f1: expected a metric of the validation faces"),
        (Grid(metric="linear_probe/f1"), SMALL, "search.metric=linear_probe/f1"),
        (Grid(), NUMBERS, r"lr=0.0001 to 0.1, logarithmic has no steps. Give lr=range\(low,high,step\)"),
        (CMAES(), MIXED, "model, one has no order"),
        (TPE(), {}, "nothing to search over"),
    ],
)
def test_searches_that_cannot_be_made_are_refused(search: Search, space: Space, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        search.check(space, True, "ratio")


@pytest.mark.parametrize("search", [TPE(), Random(), Grid(), CMAES()])
def test_a_split_without_validation_is_refused(search: Search) -> None:
    whole = space_of("k=range(1,4)", "width=int(interval(1,64))")
    search.check(whole, True, "ratio")
    with pytest.raises(ConfigError, match="split: few_shot has no validation faces"):
        search.check(whole, False, "few_shot")


@pytest.mark.parametrize("name", ["tpe", "random", "grid", "cmaes"])
def test_every_search_is_built_from_its_config(name: str) -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = check_training(compose("train", [f"search={name}", "search.trials=7"]))
        built = build({"search": config["search"]})["search"]
        assert isinstance(built, Search)
        recorded = {**dataclasses.asdict(built), "sampler": type(built).__name__}  # as in the tag of a sweep
        assert sampler_of(config["search"]) == sampler_of(recorded) != ""
        assert built.total(SMALL) == 7
        with pytest.raises(ConfigError) as caught:
            check_training(compose("train", [f"search={name}", "search.trials=0", "search.direction=up"]))
        assert "search.trials" in str(caught.value)
        assert "search.direction" in str(caught.value)
