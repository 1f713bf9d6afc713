"""The file of a search is data: whatever stands in it, opening it and drawing from it runs nothing."""

import json
import pickle
from pathlib import Path

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.storages.journal import JournalFileBackend, JournalStorage

from facelab.errors import TrackingError
from facelab.sweep.search import CMAES
from facelab.sweep.space import read_space
from facelab.sweep.study import RecordedStudy

SPACE = read_space(OverridesParser.create().parse_overrides(["lr=interval(1e-4,1e-1)", "width=interval(1,64)"]))


class _Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("prefix", ["cma:", "sepcma:", "cmawm:"])
def test_a_pickled_optimiser_in_a_journal_is_not_loaded(tmp_path: Path, prefix: str) -> None:
    """Optuna's sampler keeps CMA-ES as a hexadecimal pickle in the attributes of trials, and loads it from there."""
    marker, path = tmp_path / "marker", tmp_path / "study.log"
    pickle.loads(pickle.dumps(_Touch(marker)))
    assert marker.exists()
    marker.unlink()

    storage = JournalStorage(JournalFileBackend(str(path)))
    prepared = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    identity = {
        "metric": "val/f1",
        "direction": "maximize",
        "space": {key: dimension.text for key, dimension in SPACE.items()},
    }
    prepared.set_user_attr("facelab", identity)
    distributions = {key: dimension.distribution for key, dimension in SPACE.items()}
    code = pickle.dumps(_Touch(marker)).hex()
    for number in range(2):
        prepared.add_trial(
            optuna.trial.create_trial(
                params={"lr": 1e-3, "width": 8 + number},
                distributions=distributions,
                value=0.5,
                system_attrs={f"{prefix}optimizer:0": code, f"{prefix}generation": 0},
            )
        )
    with pytest.raises(TrackingError, match=r"study\.log"):
        RecordedStudy(path, "s", CMAES(), SPACE).ask()
    assert not marker.exists()


def test_a_search_of_cmaes_keeps_plain_values_only(tmp_path: Path) -> None:
    study = RecordedStudy(tmp_path / "study.log", "s", CMAES(trials=20), SPACE)
    while (trial := study.ask()) is not None:
        study.tell(trial.number, float(trial.overrides["lr"]))
    text = (tmp_path / "study.log").read_text()
    assert "optimizer" not in text
    assert max(len(line) for line in text.splitlines()) < 500
    for line in text.splitlines():
        json.loads(line)


@pytest.mark.parametrize("content", ["mine, and no line's end", "a line\n and more", ""])
def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine").write_text(content)
    (tmp_path / "study.log").symlink_to(tmp_path / "mine")
    with pytest.raises(TrackingError, match=r"study\.log"):
        RecordedStudy(tmp_path / "study.log", "s", CMAES(), SPACE)
    assert (tmp_path / "mine").read_text() == content


def test_a_file_of_something_else_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "study.log").write_text("a line\n and more")
    with pytest.raises(TrackingError, match=r"study\.log, line 1"):
        RecordedStudy(tmp_path / "study.log", "s", CMAES(), SPACE)
    assert (tmp_path / "study.log").read_text() == "a line\n and more"
