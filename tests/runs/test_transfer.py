"""Training that starts from the encoder of a finished run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlflow.entities import Run
from safetensors.torch import load_file

from facelab.errors import ConfigError
from facelab.models.trained import ModelMetadata, save
from facelab.models.transfer import find_weights, load_encoder
from facelab.tracking import SqliteStore
from tests.conftest import TINY_CNN, Command
from tests.models.tiny import tiny_cnn

Runs = Callable[[], list[Run]]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_a_run_starts_from_the_encoder_of_another(
    facelab: Command, experiment: tuple[str, str], runs: Runs, tmp_path: Path
) -> None:
    assert facelab("train", *TINY_CNN, *experiment).status == 0
    (first,) = runs()
    start = f"model.init_from={first.info.run_id}"

    outcome = facelab("train", *TINY_CNN, *experiment, "seed=2", start, "model.freeze=encoder", "data.last_person=4")
    assert outcome.status == 0, outcome.error
    second = next(run for run in runs() if run.info.run_id != first.info.run_id)
    assert second.data.params["model.init_from"] == first.info.run_id
    assert len(second.data.tags["model.init_from.sha256"]) == 64
    given, found = (_weights(tmp_path / "runs" / run.info.run_id) for run in (first, second))
    of_encoder = [name for name in given if name.startswith("encoder.")]
    assert of_encoder
    assert all(torch.equal(given[name], found[name]) for name in of_encoder)  # with batch normalisation's statistics
    assert given["head.centres"].shape != found["head.centres"].shape  # six people and four

    other = facelab("train", *TINY_CNN, *experiment, start, "model.encoder.widths=[8,8]")
    assert other.status != 0
    assert "blocks.1.0.weight: 16x8x3x3 there, 8x8x3x3 here" in other.error
    assert "model.encoder" in other.error
    assert len(runs()) == 2


@pytest.mark.slow
def test_a_run_that_starts_from_one_that_saw_its_test_says_so(
    facelab: Command, experiment: tuple[str, str], runs: Runs
) -> None:
    assert facelab("train", *TINY_CNN, *experiment, "split.seed=1").status == 0
    start = f"model.init_from={runs()[0].info.run_id}"
    same = facelab("train", *TINY_CNN, *experiment, start, "split.seed=1")
    assert same.status == 0, same.error
    assert "A run behind this one" not in same.error
    outcome = facelab("train", *TINY_CNN, *experiment, start)
    assert outcome.status == 0, outcome.error
    assert "Warning: A run behind this one, whose weights or images it takes, saw" in outcome.error
    assert "test images in training or validation" in runs()[0].data.tags["evaluation.notes"]


def test_an_encoder_is_loaded_whole_or_in_part_and_refused_by_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELAB_ALLOW", "tests")
    here = "tests.models.tiny.tiny_cnn"
    save(tiny_cnn(), ModelMetadata((1, 16, 16), 2, ("a", "b")), tmp_path)
    (tmp_path / "config.yaml").write_text(f"model: {{_target_: {here}, _partial_: true}}", encoding="utf-8")
    same = tiny_cnn()
    load_encoder(same, tmp_path)
    weights = _weights(tmp_path)
    assert all(torch.equal(value, weights[f"encoder.{name}"]) for name, value in same.encoder.state_dict().items())
    part = tiny_cnn(init_from="there", init_layers=["blocks"])
    before = part.encoder.state_dict()["embed.1.weight"].clone()
    load_encoder(part, tmp_path)
    found = part.encoder.state_dict()
    assert torch.equal(found["blocks.0.0.weight"], weights["encoder.blocks.0.0.weight"])
    assert torch.equal(found["embed.1.weight"], before)
    with pytest.raises(ConfigError, match=r"no weights in 'block'\. Expected some of: blocks, embed"):
        load_encoder(tiny_cnn(init_from="there", init_layers=["block"]), tmp_path)
    with pytest.raises(ConfigError, match=r"blocks\.0\.0\.weight: 4x1x3x3 there, 4x3x3x3 here"):
        load_encoder(tiny_cnn(image_shape=(3, 16, 16)), tmp_path)


def test_a_run_that_does_not_exist_is_named(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path))
    with pytest.raises(ConfigError, match=r"model\.init_from=0+: there is no such run .* no store to download"):
        find_weights("0" * 32, tmp_path / "runs", store)
    with pytest.raises(ConfigError, match=r"model\.init_from=abc: there is no such run, since run ids"):
        find_weights("abc", tmp_path / "runs", store)
    with pytest.raises(ConfigError, match=r"there/abc is neither a folder that holds model\.safetensors"):
        find_weights("there/abc", tmp_path / "runs", store)


def test_weights_come_from_an_id_or_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store, name = SqliteStore(str(tmp_path)), "0" * 32
    folders = [tmp_path / "runs" / name, tmp_path / name, tmp_path / "mine"]
    for folder in folders:
        folder.mkdir(parents=True)
        save(tiny_cnn(), ModelMetadata((1, 16, 16), 2, ("a", "b")), folder)
        (folder / "config.yaml").touch()
    for given, expected in (
        (name, Path("runs") / name),
        (f"{name}/", Path(name)),
        (f"runs/{name}/", Path("runs") / name),
        (str(folders[0]), folders[0]),
        ("mine", Path("mine")),
        (str(folders[2]), folders[2]),
    ):
        assert find_weights(given, Path("runs"), store) == expected


def test_a_frozen_encoder_trains_neither_weights_nor_statistics() -> None:
    module = tiny_cnn(init_from="abc", freeze="encoder").train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    batch = {"image": torch.rand(2, 1, 16, 16), "label": torch.tensor([0, 1])}
    optimizer = module.configure_optimizers()
    torch.autograd.backward(module.losses(batch)["loss"])
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.centres"}


def test_transfer_without_a_run_is_refused() -> None:
    with pytest.raises(ValueError, match="give init_from"):
        tiny_cnn(freeze="encoder")
    with pytest.raises(ValueError, match="give it as init_from"):
        tiny_cnn(init_layers=["blocks"])
