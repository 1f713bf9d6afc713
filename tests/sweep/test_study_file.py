"""Files of a search that are of another one, damaged or foreign."""

from pathlib import Path

import pytest

from facelab.errors import ConfigError, TrackingError
from facelab.sweep.search import CMAES, TPE, Random
from facelab.sweep.study import RecordedStudy
from tests.sweep.test_search import NUMBERS, SMALL, space_of


def test_a_file_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    RecordedStudy(path, "s", TPE(), SMALL).ask()
    RecordedStudy(path, "s", Random(trials=3, seed=4), SMALL)  # another way of drawing goes on with the same trials
    before = path.read_bytes()
    with pytest.raises(
        ConfigError, match=r"its metric is val/f1, and now val/loss; its direction is maximize, and now"
    ):
        RecordedStudy(path, "s", TPE(metric="val/loss", direction="minimize"), SMALL)
    changed = space_of("model=cnn,gan,vae", "drop=0.0,0.5", "lr=interval(1,2)")
    with pytest.raises(ConfigError) as caught:
        RecordedStudy(path, "s", TPE(), changed)
    assert "its model is cnn, gan, and now cnn, gan, vae" in str(caught.value)
    assert "it searched over k (3 values from 1 to 3, equally spaced) too" in str(caught.value)
    assert "it did not search over lr" in str(caught.value)
    with pytest.raises(ConfigError, match="another search, 's'"):
        RecordedStudy(path, "t", TPE(), SMALL)
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"nowhere/study\.log could not be read or written"):
        RecordedStudy(tmp_path / "nowhere" / "study.log", "s", TPE(), SMALL)


@pytest.mark.parametrize(
    "line",
    [
        "\x00rubbish",
        '{"trial":0,"drawn":{"lr":0.001,"width":8,"decay":1}}',  # a second trial 0
        '{"trial":1,"drawn":{"lr":0.001,"width":8}}',
        '{"trial":1,"drawn":{"lr":1.0,"width":8,"decay":1}}',  # out of range
        '{"trial":1,"drawn":{"lr":0.001,"width":8.5,"decay":1}}',
        '{"trial":1,"drawn":{"lr":"0.001","width":8,"decay":1}}',
        '{"trial":1,"drawn":{"lr":0.001,"width":8,"decay":1},"system_attrs":{}}',
        '{"trial":9,"ended":"finished","value":1.0}',
        '{"trial":-1,"ended":"failed"}',
        '{"trial":0,"ended":"failed"}\n{"trial":0,"images_seen":5,"value":1.0}',
        '{"trial":0,"ended":"failed"}\n{"trial":0,"ended":"failed"}',
        '{"trial":0,"ended":"finished"}',
        '{"trial":0,"ended":"finished","value":1e999}',
        '{"search":"s","metric":"val/f1","direction":"maximize","space":{}}',
    ],
)
def test_a_line_that_is_no_part_of_a_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "study.log"
    RecordedStudy(path, "s", CMAES(), NUMBERS).ask()
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(TrackingError, match=rf"{path}, line [34].*sweep\.name"):
        RecordedStudy(path, "s", CMAES(), NUMBERS)
