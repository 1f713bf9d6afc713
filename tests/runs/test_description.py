"""The description that a run's page in MLflow opens on."""

import pytest

from facelab.data.faces import FaceSet
from facelab.data.splits.rules import Ratio
from facelab.protocols.base import Report, Table
from facelab.runs.description import Described, describe_end, describe_start, opening_of_training
from facelab.system import training_command
from facelab.tracking import RunPage, note

PAGE = RunPage("f" * 32, "1")


def _report(name: str, rows: int) -> Report:
    table = Table(f"{name} faces", ["", "value", "95 % interval"], [[f"row {n}", "90.0%", ""] for n in range(rows)])
    return Report({f"{name}/accuracy": 0.9}, table)


def test_it_says_what_was_trained_on_what(orl: FaceSet) -> None:
    found = opening_of_training("CNN", orl, Ratio().divide(orl), 25_600, 3)
    assert found == (
        "**CNN** trained on **orl**: 240 images of 40 people for training, 80 images of 40 people for validation, 80 "
        "images of 40 people for the test. 25,600 images seen, seed 3."
    )


def test_results_pictures_command_and_next_steps_follow() -> None:
    command = training_command(["model=cnn", "name=it's"])
    described = Described("**CNN** on faces.", command, PAGE)
    text = describe_end(described, [_report("test", 2)], ["Mind <this>."], "[![a](b)](c)")
    order = [
        "**CNN** on faces.",
        "| test faces&emsp; |",
        "| row 1&emsp; |",
        "- Note: Mind &lt;this&gt;.",
        "[![a](b)](c)",
    ]
    order += [f"    {command}", "Next:", "-m model=cnn", "facelab evaluate run=" + "f" * 32]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "facelab generate" not in text
    assert "facelab generate" in describe_end(described, [_report("generation", 1)], [], "")
    assert describe_start(described).startswith("**CNN** on faces.\n\nNo results yet")


@pytest.mark.parametrize("command", ["", "facelab evaluate run=x", f"{training_command()} seed=1,2 model=cnn"])
def test_only_a_training_with_one_seed_is_to_be_repeated_with_several(command: str) -> None:
    text = describe_end(Described("x", command, PAGE), [_report("test", 1)], [], "")
    assert "Three seeds" not in text
    assert ("Make it again" in text) == bool(command)


def test_long_tables_give_way_to_the_command() -> None:
    reports = [_report(name, 30) for name in ("test", *(f"{'long ' * 20}{number}" for number in range(10)), "three")]
    text = describe_end(Described("x", training_command(["model=cnn"]), PAGE), reports, [], "")
    assert len(text) <= note.CHARACTERS
    assert "| test faces" in text
    assert "| row 14&emsp; |" in text
    assert "| and 15 more rows&emsp; |" in text
    assert "| three faces" not in text
    assert "model=cnn" in text
