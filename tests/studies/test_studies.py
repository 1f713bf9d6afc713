"""Studies: grid, rules and pages, against figures by hand."""

import math
import re
import shutil
from itertools import product
from pathlib import Path
from statistics import fmean

import pytest
from hydra import compose, initialize_config_dir

from facelab.commands.compare import compare
from facelab.compare.statistics import Difference, Estimate, least_difference
from facelab.config.compose import config_folder
from facelab.errors import ConfigError
from facelab.studies.grid import Grid, Pair
from facelab.studies.registration import read_study
from facelab.studies.report import page
from facelab.studies.rules import OPEN, AnyGains, BetterThanAll, EachPays
from facelab.tracking import SqliteStore, record_registration
from tests.compare.store import RecordedSweep

EXPERIMENTS = config_folder().parent / "experiments"
REGISTERED = sorted(path.parent.name for path in EXPERIMENTS.glob("*/registration.toml"))
ARMS = ["pixels", "eigenfaces", "fisherfaces", "linear_svm", "cnn", "cnn_arcface", "autoencoder", "gan"]
Compared = tuple[Difference | None, float | None]


def _difference(mean: float, half_width: float, p: float = 0.001) -> Compared:
    return Difference(Estimate(mean, half_width, 10), 0.5), p


def test_the_least_difference_by_hand() -> None:
    # t(0.975; 9) = 2.2622: 2.2622 * 2 / sqrt(10) = 1.431.
    assert least_difference(2.0, 10) == pytest.approx(1.431, abs=1e-3)
    # sqrt(4 / 10 + 9 / 20) = 0.92195; times 2.2622 = 2.0856.
    assert least_difference(2.0, 10, 3.0, 20) == pytest.approx(2.0856, abs=1e-3)


def test_missing_cells_are_named_by_replicate_first() -> None:
    values = {("a", "1", "0"): 0.5, ("b", "1", "0"): 0.6, ("a", "2", "0"): 0.7}
    grid = Grid(["a", "b"], ["1", "2"], ["0", "1"], values)
    assert grid.missing == [("b", "2", "0"), ("a", "1", "1"), ("b", "1", "1"), ("a", "2", "1"), ("b", "2", "1")]
    ((found, p),) = grid.differences([("a", "b", "1")]).values()
    assert found is not None
    assert found.estimate.mean == pytest.approx(-0.1)
    assert p is None


def test_a_page_names_the_people_who_make_a_difference() -> None:
    study = read_study("gan_augmentation")
    first, other = study.plan.rule.arms[:2]
    people = {
        (first, "1", "0"): {"s21": 1.0, "s22": 0.5, "s23": 1.0, "s24": 0.5},
        (first, "1", "1"): {"s21": 1.0, "s22": 0.5, "s23": 0.5, "s24": 0.5},
        (other, "1", "0"): {"s21": 0.0, "s22": 1.0, "s23": 0.9, "s24": 0.5},
        (other, "1", "1"): {"s21": 0.2, "s22": 0.5, "s23": 0.5, "s24": 0.5},
    }
    values = {cell: fmean(shares.values()) for cell, shares in people.items()}
    grid = Grid([first, other], ["1"], ["0", "1"], values, people)
    # Means of both replicates: s21 -90, s22 +25, s23 -5, s24 0. Over replicates, the differences are -15 and -20, whose
    # half-width is 12.706 * 3.5355 / sqrt(2) = 31.8 points.
    assert grid.of_each_person((other, first, "1")) == pytest.approx({"s21": -0.9, "s22": 0.25, "s23": -0.05, "s24": 0})
    named = f"| `{study.plan.name(other)}` less `{study.plan.name(first)}` | 1 |"
    assert f"{named} -17.5 ± 31.8 | s21 -90.0, s22 +25.0, s23 -5.0 |" in page(study, grid)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([_difference(0.05, 0.02), _difference(0.021, 0.02)], "yes"),
        ([_difference(0.05, 0.02), _difference(0.019, 0.01)], "undecided"),  # above 0, but less than 2 points
        ([_difference(0.05, 0.02), _difference(0.03, 0.04)], "undecided"),
        ([_difference(0.05, 0.02), _difference(0.005, 0.01)], "no"),
        ([_difference(0.05, 0.02), _difference(0.05, 0.01, p=0.06)], "undecided"),
        ([_difference(0.05, 0.02), (None, None)], OPEN),
        ([_difference(0.05, 0.02), (Difference(Estimate(0.05, None, 10), None), None)], OPEN),
        ([_difference(0.05, 0.02), _difference(math.nextafter(0.02, 0), 0.01)], "yes"),  # a sum that is rounded
        ([_difference(0.05, 0.02), (Difference(Estimate(0.05, 0.01, 9), 0.5), 0.001)], OPEN),
    ],
)
def test_better_than_all(found: list[Compared], said: str) -> None:
    rule = BetterThanAll("better_than_all", "cnn", ["pixels", "svm"], 2.0)
    pairs = rule.pairs(["1"])
    assert pairs == [("cnn", "pixels", "1"), ("cnn", "svm", "1")]
    assert rule.verdict(dict(zip(pairs, found, strict=True)), 10) == {"1": said}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([_difference(-0.01, 0.01), _difference(0.02, 0.015), _difference(0.0, 0.02)], "yes"),
        ([_difference(-0.01, 0.01), _difference(0.019, 0.015), _difference(0.0, 0.02)], "undecided"),
        ([_difference(-0.01, 0.01), _difference(0.03, 0.035), _difference(0.0, 0.02)], "undecided"),
        ([_difference(-0.01, 0.01), _difference(0.03, 0.01, p=0.06), _difference(0.0, 0.02)], "undecided"),
        ([_difference(-0.01, 0.01), _difference(0.004, 0.005), _difference(-0.02, 0.01)], "no"),
        ([_difference(-0.01, 0.01), _difference(0.006, 0.005), _difference(-0.02, 0.01)], "undecided"),
        ([_difference(-0.01, 0.01), (None, None), _difference(0.05, 0.01)], OPEN),
    ],
)
def test_any_gains(found: list[Compared], said: str) -> None:
    rule = AnyGains("any_gains", "classical", ["gan"], 2.0, 1.0)
    pairs: list[Pair] = rule.pairs(["1", "2", "3"])
    assert pairs[0] == ("gan", "classical", "1")
    assert rule.verdict(dict(zip(pairs, found, strict=True)), 10) == {"": said}


def test_each_part_pays_or_not() -> None:
    rule = EachPays("each_pays", "all", ["a", "b", "c", "d"], 0.5)
    found = {
        **{("all", "a", "1"): _difference(0.02, 0.01), ("all", "a", "5"): _difference(0.0, 0.001)},
        **{("all", "b", "1"): _difference(-0.01, 0.01), ("all", "b", "5"): _difference(0.0, 0.004)},
        **{("all", "c", "1"): _difference(-0.01, 0.01), ("all", "c", "5"): _difference(0.0, 0.006)},
        **{("all", "d", "1"): _difference(0.02, 0.01, p=0.2), ("all", "d", "5"): (None, None)},
    }
    assert list(found) == rule.pairs(["1", "5"])
    assert rule.verdict(found, 10) == {"a": "pays", "b": "does not pay", "c": "undecided", "d": OPEN}


@pytest.mark.parametrize("name", REGISTERED)
def test_each_registered_study_fits_its_sweep_and_readme(name: str) -> None:
    study = read_study(name)
    assert len(study.listed[study.plan.axes.replicate]) == 10
    assert f"<!-- study: written by facelab compare study={name} -->" in (study.folder / "README.md").read_text("utf-8")


@pytest.fixture
def few_shot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the few-shot study with three splits and two k, in the current folder."""
    folder = tmp_path / "experiments" / "few_shot_small"
    folder.mkdir(parents=True)
    for name in ("README.md", "registration.toml", "study.yaml"):
        text = (EXPERIMENTS / "few_shot" / name).read_text(encoding="utf-8")
        text = text.replace("range(10)", "range(3)").replace("1,2,3,5", "1,5")
        text = re.sub(r"(?s)(<!-- study: [^>]*-->\n).*(<!-- end of study)", r"\1\2", text)
        (folder / name).write_text(text.replace("study=few_shot", "study=few_shot_small"), encoding="utf-8")
    shutil.copytree(folder, folder.parent / "kept")
    monkeypatch.chdir(tmp_path)
    return folder


def _compare(store_folder: Path, **options: object) -> None:
    tracking = {"_target_": "facelab.tracking.SqliteStore", "folder": str(store_folder), "experiment": "facelab"}
    compare({"tracking": tracking, "runs_folder": "runs", **options})


def test_a_study_is_written_from_the_store_and_refuses_holes(few_shot: Path, store_folder: Path) -> None:
    study = read_study("few_shot_small")
    listed = study.listed
    here = {"study": "few_shot_small", "sweep": "few_shot_by_hand"}
    _compare(store_folder, study="few_shot_small", partial=True)
    assert "| 2 | 5.0 |" in (few_shot / "README.md").read_text(encoding="utf-8")  # 4.303 * 2 / sqrt(3)
    sweep = RecordedSweep(SqliteStore(str(store_folder)), Path("runs"), "few_shot_by_hand", {**listed})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="was not started from a registration"):
        _compare(store_folder, **here)
    record_registration(sweep.store, sweep.row.id, study.files, study.digest)
    *points, last = product(listed["split.seed"], listed["split.train_per_identity"], ARMS)
    for seed, k, model in points:
        point = {"split.seed": seed, "split.train_per_identity": k, "few_shot/arm": model}
        value = 0.6 + 0.05 * int(k) + 0.003 * int(seed) + (0.1 + 0.002 * int(seed) if model == "cnn" else 0.0)
        sweep.child(point, {"test/accuracy": value}, commit="")
    assert last == ("2", "5", "gan")
    with pytest.raises(ConfigError, match="1 of 48 cells are missing: gan k=5 replicate 2"):
        _compare(store_folder, **here)
    written = []
    for _ in range(2):
        _compare(store_folder, **here, partial=True)
        written.append([(few_shot / name).read_bytes() for name in ("README.md", "accuracy.svg", "differences.svg")])
    assert written[0] == written[1]
    # cnn is 0.100, 0.102 and 0.104 above: mean 10.2, sd 0.2, half-width 4.303 * 0.2 / sqrt(3) = 0.5 points; t = 88.3
    # with 2 degrees of freedom, p = 0.000128, times the 8 comparisons.
    page = written[0][0].decode()
    assert "| `cnn` less `pixels` | +10.2 ± 0.5 (p 0.001) |" in page
    assert "k=1: **yes**; k=5: **yes**" in page
    assert "1 of 48 cells are missing" in page
    assert "No run has finished yet" not in page
    # gan: 0.65, 0.653, 0.656, half-width 4.303 * 0.3 / sqrt(3); of k=5 two splits, half-width 12.71 * 0.212 / sqrt(2).
    assert "| `gan` | 65.3 ± 0.7 | 85." in page
    assert " ± 1.9 (2) |" in page
    with pytest.raises(ConfigError, match="holds results, and here is no finished run"):
        _compare(store_folder, study="few_shot_small", partial=True)
    file = few_shot / "registration.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("margin_points = 2.0", "margin_points = 1.0"), "utf-8")
    with pytest.raises(ConfigError, match="was changed after the first run"):
        _compare(store_folder, **here)


@pytest.mark.parametrize("lower_is", ["cnn", "pixels"])
def test_an_arm_with_fewer_errors_is_better(few_shot: Path, store_folder: Path, lower_is: str) -> None:
    file = few_shot / "registration.toml"
    file.write_text(file.read_text("utf-8").replace('"test/accuracy"', '"verification/eer"'), "utf-8")
    study = read_study("few_shot_small")
    sweep = RecordedSweep(SqliteStore(str(store_folder)), Path("runs"), "errors", {**study.listed})  # type: ignore[dict-item]
    record_registration(sweep.store, sweep.row.id, study.files, study.digest)
    for seed, k, model in product(study.listed["split.seed"], study.listed["split.train_per_identity"], ARMS):
        point = {"split.seed": seed, "split.train_per_identity": k, "few_shot/arm": model}
        one_is_lower = (model == "cnn") == (lower_is == "cnn")
        sweep.child(point, {"verification/eer": (0.1 if one_is_lower else 0.3) + 0.002 * int(seed) * int(one_is_lower)})
    _compare(store_folder, study="few_shot_small", sweep="errors")
    page = (few_shot / "README.md").read_text("utf-8")
    said, mean = ("yes", "+19.8") if lower_is == "cnn" else ("no", "-19.8")
    assert f"k=1: **{said}**; k=5: **{said}**" in page
    assert f"| `cnn` less `pixels` | {mean} ± " in page
    assert "by which `verification/eer` is lower, so better, in the first" in page


def test_a_finished_run_without_a_value_and_a_further_axis_are_told(few_shot: Path, store_folder: Path) -> None:
    study = read_study("few_shot_small")
    for name, axes in (("empty", {**study.listed}), ("wider", {**study.listed, "model.optimizer.lr": ["0.1", "0.2"]})):
        sweep = RecordedSweep(SqliteStore(str(store_folder)), Path("runs"), name, axes)  # type: ignore[arg-type]
        record_registration(sweep.store, sweep.row.id, study.files, study.digest)
        point = {"split.seed": "0", "split.train_per_identity": "1", "few_shot/arm": "cnn"}
        sweep.child(point, {"test/accuracy": math.nan, "test/f1": 0.5})
    with pytest.raises(ConfigError, match="1 run finished without a finite value of test/accuracy"):
        _compare(store_folder, study="few_shot_small", sweep="empty")
    with pytest.raises(ConfigError, match=r"model\.optimizer\.lr is in one of them only"):
        _compare(store_folder, study="few_shot_small", sweep="wider")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('metric = "test/accuracy"', "metric = 3", "metric: Input should be a valid string"),
        ("margin_points = 2.0", "margin_points = -1", "rule.better_than_all.margin_points"),
        ('kind = "better_than_all"', 'kind = "best"', "better_than_all"),
        ('"linear_svm"]', '"svm"]', "'linear_svm' is in one of them only"),
        ('replicate = "split.seed"', 'replicate = "seed"', "study.yaml sweeps split.seed"),
        ("[rule]", "[rule", "cannot be read"),
        ("question =", "wish = 1\nquestion =", "wish"),
        ('"replicates"', '"replicates_and_people"', "people = <number of test people>"),
        ("question =", "people = 3\nquestion =", "people goes with intervals"),
    ],
)
def test_a_faulty_registration_is_refused(few_shot: Path, old: str, new: str, said: str) -> None:
    file = few_shot / "registration.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        read_study("few_shot_small")


def test_a_study_of_the_current_folder_goes_before_one_of_facelabs_own(few_shot: Path) -> None:
    """Its study.yaml is what Hydra composes, too."""
    shutil.copytree(few_shot, few_shot.parent / "few_shot")
    assert read_study("few_shot").folder == few_shot.parent / "few_shot"
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("train", ["+few_shot=study"], return_hydra_config=True)
    assert composed.hydra.sweeper.params["split.seed"] == "range(3)"


def test_a_study_whose_registration_is_missing_is_not_read_from_elsewhere(few_shot: Path) -> None:
    """Hydra would run its study.yaml, under the registration of facelab's own."""
    shutil.copytree(few_shot, few_shot.parent / "few_shot")
    (few_shot.parent / "few_shot" / "registration.toml").unlink()
    with pytest.raises(ConfigError, match=r"experiments/few_shot has study\.yaml but no registration\.toml"):
        read_study("few_shot")


def test_an_unknown_study_is_refused_with_those_there_are(few_shot: Path, store_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"study=nothing: .*Known are: .*few_shot, few_shot_small"):
        _compare(store_folder, study="nothing")
    with pytest.raises(ConfigError, match=r"To start the study: python train\.py \+few_shot_small=study"):
        _compare(store_folder, study="few_shot_small")
    with pytest.raises(ConfigError, match="metrics: does not go with study="):
        _compare(store_folder, study="few_shot_small", metrics=["test/f1"])
