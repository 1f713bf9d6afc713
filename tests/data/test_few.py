"""Classes with too few pictures: counted, and three ways on."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run

from facelab.data.faces import FaceSet
from facelab.data.splits.base import Split, prepare, split
from facelab.data.splits.rules import FewShot, KFold, Ratio
from facelab.errors import DataError
from tests.conftest import TINY_CNN, Command
from tests.data.made import make_folder
from tests.data.test_split_reference import random_set

COUNTS = [1, 8, 1, 9, 2, 10, 1]
RULES = {
    "split.train=0.6 split.val=0.2 split.test=0.2": Ratio,
    "split.folds=3": lambda **how: KFold(folds=3, **how),
    "split.train_per_identity=2": lambda **how: FewShot(train_per_identity=2, **how),
}


@pytest.fixture
def faces() -> FaceSet:
    return random_set(COUNTS, 0)


@pytest.mark.parametrize("keys", RULES)
def test_all_of_them_are_counted(faces: FaceSet, keys: str) -> None:
    with pytest.raises(DataError) as caught:
        split(faces, RULES[keys]())  # type: ignore[operator]
    message = str(caught.value)
    least = {"split.train=0.6 split.val=0.2 split.test=0.2": 4}.get(keys, 3)
    for fact in ("4 of 7 classes", keys, f"needs {least}", "3 have 1, 1 has 2", "'p0'"):
        assert fact in message
    for way in ("split.few=drop", "5 images; 3 classes", "split.few=train"):
        assert way in message


@pytest.mark.parametrize("keys", RULES)
def test_they_can_be_left_out(faces: FaceSet, keys: str) -> None:
    rule: Split = RULES[keys](few="drop")  # type: ignore[operator]
    left, splits = prepare(faces, rule)
    assert left.label_names == ["p1", "p3", "p5"]
    assert np.bincount(left.labels).tolist() == [8, 9, 10]
    assert np.array_equal(left.labels, left.identities)
    assert sorted(np.concatenate([indices for _, indices in splits.items()])) == list(range(27))
    assert all(left.label_names[label] == faces.label_names[faces.labels[int(name)]] for label, name in _named(left))
    assert left.fingerprint == faces.fingerprint  # of what was loaded: the config says the rest
    (note,) = splits.notes
    assert "split.few=drop: 4 of 7 classes" in note
    assert "5 images" in note
    assert "3 classes" in note
    # The unreduced set's parts are the same pictures.
    whole = split(faces, rule)
    assert [left.names[i] for i in splits.test] == [faces.names[i] for i in whole.test]


def _named(faces: FaceSet) -> list[tuple[int, str]]:
    return list(zip(faces.labels.tolist(), faces.names, strict=True))


@pytest.mark.parametrize("keys", RULES)
def test_they_can_be_trained_on_alone(faces: FaceSet, keys: str) -> None:
    same, splits = prepare(faces, RULES[keys](few="train"))  # type: ignore[operator]
    assert same is faces
    few = np.flatnonzero(np.isin(faces.labels, [0, 2, 4, 6]))
    assert np.isin(few, splits.train).all()
    assert set(faces.labels[splits.test]) == {1, 3, 5}
    assert "split.few=train: 4 of 7 classes" in splits.notes[0]


@pytest.mark.parametrize(("counts", "few"), [([1, 1, 9], "drop"), ([1, 1, 1], "train"), ([1, 1, 1], "error")])
def test_a_way_on_that_leads_nowhere_is_refused(counts: list[int], few: str) -> None:
    with pytest.raises(DataError, match=f"of 3 classes have too few.*{counts.count(9)} classes have enough"):
        split(random_set(counts, 0), Ratio(few=few))  # type: ignore[arg-type]


def test_a_run_says_and_records_what_was_left_out(
    facelab: Command, tmp_path: Path, experiment: tuple[str, str], runs: Callable[[], list[Run]]
) -> None:
    root = make_folder(tmp_path / "faces" / "group", people=4, pictures=6)
    for number in range(1, 6):
        (root / "person2" / f"{number}.png").unlink()
    size = [override for override in TINY_CNN if not override.startswith("data.last_person")]
    command = ("train", "data=folder", f"data.root={root.parent}", *size, *experiment)
    refused = facelab(*command)
    assert refused.status == 1
    assert "split.few=drop" in refused.error
    outcome = facelab(*command, "split.few=drop")
    assert outcome.status == 0, outcome.error
    assert "split.few=drop: 1 of 4 classes" in outcome.out
    assert "such as 'group/person0'" in outcome.out  # a note of the source
    (run,) = runs()
    profile = json.loads(run.inputs.dataset_inputs[0].dataset.profile)
    assert profile["classes"] == 3
    assert profile["images"] == 18
    assert "such as 'group/person0'" in profile["notes"][0]
    assert "split.few=drop: 1 of 4 classes" in profile["notes"][1]
    assert run.data.params["split.few"] == "drop"
