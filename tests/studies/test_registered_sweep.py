"""A real sweep keeps the registration of its study, and refuses another."""

from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Command

REGISTRATION = """
question = "Do eigenfaces beat pixels?"
metric = "test/accuracy"
axes = { arm = "+tiny/arm", condition = "split.train_per_identity", replicate = "split.seed" }
condition = "k"
intervals = "replicates_and_people"
people = 4
expected = [{ replicates = 1.0, people = 2.0 }]
generator_metrics = ["generation/gan_test"]
[rule]
kind = "any_gains"
baseline = "pixels"
others = ["eigenfaces", "duplicates"]
gain_points = 2.0
no_gain_points = 1.0
""".replace("+tiny", "tiny")
STUDY = """# @package _global_
defaults:
  - /tiny/base
  - override /split: few_shot
  - override /protocol: [classification]
data:
  last_person: 4
  image_size: 16
sweep:
  name: tiny
  study: tiny
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      split.seed: range(3)
      split.train_per_identity: 1
      +tiny/arm: pixels,eigenfaces,duplicates
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study whose arms are files of their own."""
    folder = tmp_path / "experiments" / "tiny"
    (folder / "arm").mkdir(parents=True)
    (folder / "registration.toml").write_text(REGISTRATION, encoding="utf-8")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    marks = "<!-- study: written by facelab compare study=tiny -->\n<!-- end of study -->\n"
    (folder / "README.md").write_text(marks, encoding="utf-8")
    (folder / "base.yaml").write_text("# @package _global_\ndata:\n  channels: 1\n", encoding="utf-8")
    for arm in ("pixels", "eigenfaces"):
        text = f"# @package _global_\ndefaults:\n  - override /model: {arm}\n"
        (folder / "arm" / f"{arm}.yaml").write_text(text, encoding="utf-8")
    text = "# @package _global_\ndefaults:\n  - override /model: pixels\n  - override /synthetic: duplicates\n"
    (folder / "arm" / "duplicates.yaml").write_text(text, encoding="utf-8")
    return folder


def test_what_a_study_refuses_before_its_sweep_exists(
    facelab: Command, experiment: tuple[str, str], study: Path
) -> None:
    def refused(*overrides: str) -> str:
        outcome = facelab("train", "+tiny=study", *overrides, *experiment)
        assert outcome.status == 2
        return outcome.error

    assert "the sweep 'tiny' has further overrides, data.image_size=32" in refused("data.image_size=32")
    assert "data.image_size is in one of them only" in refused("data.image_size=16,32")
    assert "tiny/arm is in one of them only" in refused("+tiny/arm=pixels")
    file = study / "registration.toml"
    file.write_text(REGISTRATION.replace('"test/accuracy"', '"test/f2"').replace("replicates_and_people", "replicates")
                    .replace("people = 4", "").replace(", people = 2.0", ""), encoding="utf-8")  # fmt: skip
    assert "the study's protocols record no test/f2. Did you mean 'test/f1'?" in refused()
    assert not (study.parents[1] / "runs").exists()


@pytest.mark.slow
def test_a_study_runs_is_written_and_keeps_its_registration(
    facelab: Command, experiment: tuple[str, str], study: Path
) -> None:
    outcome = facelab("train", "+tiny=study", *experiment)
    assert outcome.status == 0, outcome.error
    assert "9 jobs" in outcome.out
    outcome = facelab("compare", "study=tiny", *experiment)
    assert outcome.status == 0, outcome.error
    page = (study / "README.md").read_text(encoding="utf-8")
    assert "Do eigenfaces beat pixels? **" in page
    assert "interval over replicates and people" in page
    assert "| `eigenfaces` less `pixels` | " in page
    assert (study / "differences.svg").is_file()
    assert "![Synthetic faces of duplicates](faces_duplicates.png)" in page
    with Image.open(study / "faces_duplicates.png") as picture:
        assert picture.width > picture.height
    assert "| `duplicates` | 1 | " in page
    assert outcome.out.splitlines()[0] in page

    base = study / "base.yaml"  # is not among the registered files
    base.write_text("# @package _global_\ndata:\n  channels: 3\n", encoding="utf-8")
    outcome = facelab("train", "+tiny=study", *experiment)
    assert outcome.status == 2
    assert "is not the one that run" in outcome.error
    assert "finished with (data.channels). Change it back" in outcome.error
    base.write_text("# @package _global_\ndata:\n  channels: 1\n", encoding="utf-8")

    (study / "registration.toml").write_text(REGISTRATION.replace("2.0\nno_gain", "1.5\nno_gain"), encoding="utf-8")
    for command in (("train", "+tiny=study"), ("compare", "study=tiny")):
        outcome = facelab(*command, *experiment)
        assert outcome.status == 2
        assert "was changed after the first run of the sweep 'tiny'" in outcome.error
    (study / "registration.toml").write_text(REGISTRATION, encoding="utf-8")
    arm = study / "arm" / "pixels.yaml"
    arm.write_text(arm.read_text(encoding="utf-8") + "data:\n  first_person: 2\n", encoding="utf-8")
    outcome = facelab("train", "+tiny=study", *experiment)
    assert "was changed after the first run of the sweep 'tiny'" in outcome.error
