"""The studies' scripts read what runs leave behind."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from facelab.config.compose import config_folder
from facelab.data.faces import FaceSet
from tests.conftest import TINY_CNN, Command
from tests.data.made import make_folder


def script(path: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location("script", config_folder().parent / "experiments" / path)
    assert specification
    assert specification.loader
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    return script


def test_the_table_of_the_face_sets(
    facelab: Command,
    experiment: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_folder(tmp_path / "sets" / "mine", people=4, pictures=6)
    tiny = [override for override in TINY_CNN if not override.startswith("data.last_person")]
    few = ("data=folder", "data.root=sets/mine", "split=few_shot", "split.train_per_identity=3", "split.seed=1")
    outcome = facelab("train", *tiny, *few, *experiment)
    assert outcome.status == 0, outcome.error
    table = script("face_sets/table.py")
    monkeypatch.setattr("sys.argv", ["table.py", "sets"])
    table.main()
    rows = {row.split("|")[2].strip(): row for row in capsys.readouterr().out.splitlines()}
    assert {"cnn", "linear SVM, standardised pixels", "cnn less linear SVM, standardised pixels"} <= rows.keys()
    assert rows["cnn"].split("|")[3].strip() == "-"
    assert rows["cnn"].split("|")[4].strip().endswith("(1)")


def test_the_index_of_a_gallery_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr("sys.argv", ["measure.py", "2000", "16"])
    threads = torch.get_num_threads()
    script("gallery_index/measure.py").main()
    torch.set_num_threads(threads)  # the script sets one
    head, _, exact, *approximate = capsys.readouterr().out.splitlines()
    assert head.startswith("| 2,000 people, 16 numbers each |")
    assert exact.count("256 of 256") == 2
    assert approximate[3].startswith("| 5 of 45 lists |")


def test_an_interval_by_hand() -> None:
    # Mean 80, standard deviation 10, t(0.975; 2) = 4.303: 4.303 * 10 / sqrt(3) = 24.8.
    assert script("face_sets/table.py").cell({0: 0.7, 1: 0.8, 2: 0.9}) == "80.0 ± 24.8 (3)"


@pytest.mark.slow
def test_the_table_of_few_shot(facelab: Command, experiment: tuple[str, str], tmp_path: Path) -> None:
    tiny = [override for override in TINY_CNN if not override.startswith("data.last_person")]
    outcome = facelab("train", *tiny, *experiment, "split=few_shot", "model.recipe.max_images=16")
    assert outcome.status == 0, outcome.error
    found = script("few_shot/table.py").accuracies(tmp_path / "runs")
    all_40 = {classifier for people, classifier, _ in found if people == "all 40"}
    assert all_40 == {"cnn", "cnn, 1-NN", "cnn, linear probe"}
    assert {classifier for people, classifier, _ in found if people != "all 40"} == {"cnn"}


def test_the_rendered_light_leaves_a_face_with_a_dark_side(orl: FaceSet) -> None:
    prepare = script("face_sets/prepare.py")
    image = np.full_like(orl.pixels[0], 200)
    for seed in range(5):
        lit = prepare.side_lit(image, np.random.default_rng(seed))
        assert lit.shape == image.shape
        assert lit.dtype == np.uint8
        assert np.array_equal(lit, prepare.side_lit(image, np.random.default_rng(seed)))
        assert lit.min() < 60
        assert lit.max() > 150
