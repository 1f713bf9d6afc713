"""The few-shot study: its grid, its rule and its page, against figures by hand."""

from itertools import product
from pathlib import Path

import pytest

from facelab.compare.grid import Grid, half_width
from facelab.compare.statistics import Difference, Estimate
from facelab.errors import ConfigError
from facelab.tracking import SqliteStore
from tests.compare.store import RecordedSweep
from tests.experiments.test_tables import script

ARMS = ["pixels", "eigenfaces", "fisherfaces", "linear_svm", "cnn", "cnn_arcface", "autoencoder", "gan"]


def _difference(mean: float, half_width: float) -> tuple[Difference, float]:
    return Difference(Estimate(mean, half_width, 10), 0.5), 0.001


def test_the_least_difference_by_hand() -> None:
    # t(0.975; 9) = 2.2622: 2.2622 * 2 / sqrt(10) = 1.431.
    assert half_width(2.0, 10) == pytest.approx(1.431, abs=1e-3)


def test_missing_cells_are_named_by_replicate_first() -> None:
    values = {("a", "1", "0"): 0.5, ("b", "1", "0"): 0.6, ("a", "2", "0"): 0.7}
    grid = Grid(["a", "b"], ["1", "2"], ["0", "1"], values)
    assert grid.missing == [("b", "2", "0"), ("a", "1", "1"), ("b", "1", "1"), ("a", "2", "1"), ("b", "2", "1")]
    ((found, p),) = grid.differences([("a", "b", "1")])
    assert found is not None
    assert found.estimate.mean == pytest.approx(-0.1)
    assert p is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([_difference(0.05, 0.02), _difference(0.021, 0.02)], "yes"),
        ([_difference(0.05, 0.02), _difference(0.019, 0.01)], "undecided"),  # above 0, but less than 2 points
        ([_difference(0.05, 0.02), _difference(0.03, 0.04)], "undecided"),
        ([_difference(0.05, 0.02), _difference(0.005, 0.01)], "no"),
        ([_difference(0.05, 0.02), (_difference(0.05, 0.01)[0], 0.06)], "undecided"),
        ([_difference(0.05, 0.02), (None, None)], "open, runs are missing"),
    ],
)
def test_the_rule_of_the_verdict(found: list[tuple[Difference | None, float | None]], said: str) -> None:
    assert script("few_shot/study.py").verdict(found, 2.0, 10) == said


def test_the_arms_are_those_of_the_registration() -> None:
    study = script("few_shot/study.py")
    listed, plan = study.listed(), study.registered()
    assert list(listed) == ["split.seed", "model", "split.train_per_identity"]
    assert listed["split.seed"] == [str(seed) for seed in range(10)]
    assert [*plan["classical"], *plan["learned"]] == listed["model"] == ARMS


def test_the_study_is_written_from_the_store_and_refuses_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = script("few_shot/study.py")
    for name in ("README.md", "registration.toml", "study.yaml"):
        text = (study.HERE / name).read_text(encoding="utf-8").replace("range(10)", "range(3)")
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(study, "HERE", tmp_path)
    listed = study.listed()
    sweep = RecordedSweep(SqliteStore(str(tmp_path)), tmp_path, "few_shot", listed)
    *points, last = product(listed["split.seed"], listed["split.train_per_identity"], ARMS)
    for seed, k, model in points:
        point = {"split.seed": seed, "split.train_per_identity": k, "model": model}
        value = 0.6 + 0.05 * int(k) + 0.003 * int(seed) + (0.1 + 0.002 * int(seed) if model == "cnn" else 0.0)
        sweep.child(point, {"test/accuracy": value}, commit="")
    assert last == ("2", "5", "gan")
    with pytest.raises(ConfigError, match="1 of 96 cells are missing: gan k=5 split 2"):
        study.main([f"folder={tmp_path}"])
    written = []
    for _ in range(2):
        study.main([f"folder={tmp_path}", "partial", "write"])
        written.append([(tmp_path / name).read_text(encoding="utf-8") for name in ("README.md", "accuracy.svg")])
    assert written[0] == written[1]
    # cnn is 0.100, 0.102 and 0.104 above: mean 10.2, sd 0.2, half-width 4.303 * 0.2 / sqrt(3) = 0.5 points; t = 88.3
    # with 2 degrees of freedom, p = 0.000128, times the 16 comparisons.
    page = written[0][0]
    assert "| `cnn` less `pixels` | +10.2 ± 0.5 (p 0.002) |" in page
    assert "k=1: **yes**; k=2: **yes**; k=3: **yes**; k=5: **yes**" in page
    assert "1 of 96 cells are missing" in page
    assert "No run has finished yet" not in page
    capsys.readouterr()
    study.main(["design"])
    assert "| 2 | 5.0 |" in capsys.readouterr().out  # 4.303 * 2 / sqrt(3)


def test_a_changed_registration_is_refused() -> None:
    study = script("few_shot/study.py")
    store_rows = study.ChildRow(
        *("x", "x", "FINISHED", "", {}, None, ""),
        commit="0" * 40,
        superseded_by="",
        alive_s=0,
        seconds=0,
        metrics={},
        declared={},
        params={},
    )
    with pytest.raises(ConfigError, match="as it was before the first run"):
        study.refuse_changed([store_rows])
