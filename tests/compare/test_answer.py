"""The answer of a sweep, and the description of its parent run."""

from pathlib import Path

import pytest

from facelab.compare.answer import answer, sweep_note
from facelab.compare.charts import Chart
from facelab.compare.ranking import leader
from facelab.compare.table import Study, study_of_runs, study_of_sweep
from facelab.tracking import RunPage, SqliteStore, children, note, runs_by_id
from tests.compare.store import RecordedSweep


def _study(store: SqliteStore, folder: Path, name: str, values: dict[str, list[float]]) -> Study:
    """A sweep of models, each with a test accuracy per seed."""
    seeds = [str(seed) for seed in range(1, 1 + max(map(len, values.values())))]
    sweep = RecordedSweep(store, folder, name, {"model": list(values), **({"seed": seeds} if len(seeds) > 1 else {})})
    for model, own in values.items():
        for seed, value in zip(seeds, own, strict=False):
            point = {"model": model, **({"seed": seed} if len(seeds) > 1 else {})}
            sweep.child(point, {"test/accuracy": value, "test/f1": value})
    return study_of_sweep(sweep.row, children(store, sweep.row.id), None)


@pytest.fixture
def store(store_folder: Path) -> SqliteStore:
    return SqliteStore(str(store_folder), "answers")


def test_the_best_is_named_with_its_paired_difference_to_the_next(store: SqliteStore, tmp_path: Path) -> None:
    values = {"gan": [0.90, 0.91, 0.89], "cnn": [0.97, 0.95, 0.99], "vae": [0.1, 0.2, 0.3]}
    found = answer(_study(store, tmp_path, "clear", values))
    # Differences 0.07, 0.04, 0.10: mean 0.07, sd 0.03, t(2) = 4.303, half-width 0.0745; p = 0.056 before Holm.
    assert found == (
        "Best: cnn, with test/accuracy 97.0 ± 5.0% (3). Against the next, gan, it is +7.0 pp on the same seed (95 % "
        "interval -0.5 to +14.5, 3 pairs, p = 0.056 corrected), which chance may explain."
    )


def test_no_setting_is_best_that_is_worse_than_the_next_where_both_have_runs(
    store: SqliteStore, tmp_path: Path
) -> None:
    """The last two seeds are hard, and only cnn has them: mean 76.8 % of five seeds, 90 % of the first three."""
    values = {"gan": [0.89, 0.88, 0.87], "cnn": [0.91, 0.90, 0.89, 0.56, 0.58]}
    study = _study(store, tmp_path, "uneven", values)
    assert leader(study) is None
    found = answer(study)
    assert found.startswith("Undecided, since the next is better where both have runs. Best mean: gan, with test/")
    assert "Against the next, cnn, it is -2.0 pp on the same seed" in found
    assert found.endswith(" Not every setting has every seed, so their means may differ for that reason alone.")
    values = {"gan": [0.92, 0.91, 0.90], "cnn": values["cnn"]}
    fair = _study(store, tmp_path, "uneven but clear", values)
    assert answer(fair).startswith("Best: gan, with test/accuracy")
    assert answer(fair).endswith("for that reason alone.")


def test_one_run_each_says_nothing_of_chance(store: SqliteStore, tmp_path: Path) -> None:
    found = answer(_study(store, tmp_path, "single", {"cnn": [0.9], "gan": [0.8]}))
    assert found.endswith("Each setting has one run, so chance may explain the difference to the next, gan.")


def test_a_single_setting_and_none(store: SqliteStore, tmp_path: Path) -> None:
    assert answer(_study(store, tmp_path, "alone", {"cnn": [0.97, 0.95, 0.99]})) == "test/accuracy: 97.0 ± 5.0% (3)."
    sweep = RecordedSweep(store, tmp_path, "none", {"seed": ["1"]})
    sweep.child({"seed": "1"}, {}, "FAILED", reason="x")
    assert answer(study_of_sweep(sweep.row, children(store, sweep.row.id), None)) == ""


def test_single_runs(store: SqliteStore, tmp_path: Path) -> None:
    study = _study(store, tmp_path, "runs", {"cnn": [0.9], "gan": [0.8]})
    rows = [row for row in runs_by_id(store, [row.id for row in study.rows]) if row is not None]
    assert answer(study_of_runs(rows, None)).startswith(f"Best: cnn ({rows[0].id[:8]}), with test/accuracy 90.0%.")


def test_the_description_has_answer_table_charts_command_and_links(store: SqliteStore, tmp_path: Path) -> None:
    study = _study(store, tmp_path, "noted", {"cnn": [0.97, 0.95, 0.99], "gan": [0.90, 0.91, 0.89]})
    page = RunPage("e" * 32, "3")
    text = sweep_note(study, page, "my sweep", [Chart("results", "<svg/>")])
    assert text.startswith("**Best: cnn, with test/accuracy 97.0 ± 5.0% (3). Against the next, gan, it is +7.0 pp")
    assert "| cnn&emsp; | 97.0 ± 5.0% (3)&emsp; |" in text
    assert f"[![results](get-artifact?path=pictures%2F1.svg&run_uuid={'e' * 32})]" in text
    assert f"    {study.command}" in text
    assert f"[comparison.html](#/experiments/3/runs/{'e' * 32}/artifacts/comparison.html)" in text
    assert f"#/experiments/3/runs/{study.ranked[0].id}" in text
    assert "`facelab compare 'sweep=my sweep' format=csv`" in text
    assert len(text) <= note.CHARACTERS
