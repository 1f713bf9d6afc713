"""`facelab export`: files that compute what the model computes."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.func import functional_call
from torch.onnx._internal.exporter._onnx_program import _LARGE_MODEL_THRESHOLD

from facelab.data.sources.orl import ORL
from facelab.errors import ConfigError
from facelab.exporting.files import SUFFIXES, TOLERANCE, _adaptive_max_pool2d, _apart, difference, write
from facelab.exporting.graphs import Part, part_names, part_of
from facelab.models.sampling import latents, sample
from facelab.models.trained import embeddings, load
from tests.conftest import Command
from tests.exporting.untrained import MODELS, NAMES, untrained, write_run


def test_onnx_computes_embeddings_and_scores_from_uint8_images(facelab: Command, tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", "cnn")
    outcome = facelab("export", f"run={run.name}", "out=model.onnx")
    assert outcome.status == 0, outcome.error
    assert "images (N, 32, 32, 1) uint8 -> embeddings, scores\nlargest difference from PyTorch: " in outcome.out
    assert "over 28 inputs, faces and random images\n" in outcome.out
    trained, images = load(run), np.asarray(ORL(image_size=32, last_person=3).load().pixels)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 30):
        found, scores = session.run(["embeddings", "scores"], {"images": images[:count]})
        expected = embeddings(trained.module, images[:count])
        assert np.abs(found - expected.numpy()).max() <= TOLERANCE
        # By hand: cosines to the centres, times the default scale of normalised_softmax for three classes.
        logits = 5 * F.normalize(expected) @ F.normalize(trained.module.state_dict()["head.centres"]).T
        assert np.abs(scores - logits.softmax(1).numpy()).max() <= TOLERANCE
    said = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert said["run"] == run.name
    assert json.loads(said["label_names"]) == list(NAMES)
    assert (json.loads(said["image_shape"]), said["part"]) == ([32, 32, 1], "embed")
    assert str(Path(__file__).parents[2]).encode() not in (tmp_path / "model.onnx").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_torch_export_generates_the_same_faces(facelab: Command, tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", "gan_conditional")
    outcome = facelab("export", f"run={run.name}", "format=torch")
    assert outcome.status == 0, outcome.error
    assert "over 8 inputs, random latents\n" in outcome.out
    file = tmp_path / f"{run.name}_generate.pt2"
    said = {"facelab.json": ""}
    program = torch.export.load(file, extra_files=said)
    assert json.loads(said["facelab.json"])["run"] == run.name
    expected, labels = sample(load(run).module, 5, seed=3)
    (images,) = program.module()(latents(5, 4, seed=3), torch.from_numpy(labels))
    assert np.array_equal((255 * images).round().to(torch.uint8).numpy(), expected)
    assert not any("discriminator" in name for name in program.state_dict)


def test_what_cannot_be_exported_is_refused_and_leaves_no_file(facelab: Command, tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", "cnn")
    (tmp_path / "there.onnx").write_bytes(b"kept")
    before = {path.name for path in tmp_path.iterdir()}
    for arguments, says in (
        (["part=decode"], "part=decode: a CNN has no such part, but embed"),
        (["out=there.onnx"], "there.onnx exists. Choose another name"),
        (["out=model.pt"], "expected a file whose name ends in .onnx"),
        (["out=none/model.onnx"], "there is no folder"),
        ([f"out={300 * 'o'}.onnx"], "cannot be looked up (File name too long)"),
        (["format=tf"], "format"),
        (["part=head"], "part"),
    ):
        outcome = facelab("export", f"run={run.name}", *arguments)
        assert (outcome.status, says in outcome.error) == (2, True), outcome.error
    assert "there is no such run" in facelab("export", "run=abc").error
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "there.onnx").read_bytes() == b"kept"


def test_a_missing_package_is_named(facelab: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "runs", "cnn")
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not installed
    outcome = facelab("export", f"run={run.name}")
    assert outcome.error.startswith("Error: format=onnx needs packages that are not installed: onnxscript. Type: pip")


def test_a_file_with_other_outputs_is_not_kept(facelab: Command, tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", "cnn")
    weights = load_file(run / "model.safetensors")
    header = {"facelab": json.dumps({"image_shape": [1, 32, 32], "num_classes": 3, "label_names": NAMES})}
    save_file(weights | {"head.centres": weights["head.centres"] * torch.nan}, run / "model.safetensors", header)
    outcome = facelab("export", f"run={run.name}", "format=torch")
    assert "scores of the exported file differ from PyTorch's by inf" in outcome.error
    assert not list(tmp_path.glob("*.pt2")) + list(tmp_path.glob(".*"))


def test_weights_that_torch_would_put_into_a_second_file_are_refused(tmp_path: Path) -> None:
    graph = torch.nn.Linear(2**29, 1, bias=False, device="meta")
    part = Part("embed", graph, ("images",), ("embeddings",), {})
    with pytest.raises(ConfigError, match=r"2\.00 GiB of weights do not fit into one file.*Choose format=torch"):
        write(part, "onnx", {}, tmp_path / "model.onnx")
    graph = torch.nn.Linear(_LARGE_MODEL_THRESHOLD // 4 + 1, 1, bias=False, device="meta")
    with pytest.raises(ConfigError, match=r"1\.50 GiB of weights do not fit into one file"):
        write(replace(part, graph=graph), "onnx", {}, tmp_path / "model.onnx")


@pytest.mark.parametrize(("side", "cells"), [(7, 4), (2, 4), (14, 4), (8, 4), (5, 3)])
def test_adaptive_pooling_is_that_of_torch(side: int, cells: int) -> None:
    images = torch.randn(2, 3, side, side + 1)
    found = _adaptive_max_pool2d(images, (cells, cells))[0]
    assert torch.equal(found, F.adaptive_max_pool2d(images, cells))


def test_a_comparison_finds_other_weights(tmp_path: Path) -> None:
    trained = untrained(tmp_path, "autoencoder")
    part = part_of(trained.module, trained.metadata, "decode")
    changed = {name: 1.01 * value for name, value in part.graph.state_dict().items()}

    def run(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            (images,) = functional_call(part.graph, changed, (torch.from_numpy(batch["latents"]),))
        return {"images": images.numpy()}

    found = difference(run, trained.module, part, trained.metadata)
    assert found.largest > TOLERANCE
    assert (found.output, found.compared) == ("images", 28)


def test_equal_infinities_do_not_differ_and_others_do() -> None:
    infinite, finite = np.array([-np.inf, 1.0]), np.array([0.5, 1.25])
    assert _apart(infinite, np.array([-np.inf, 1.25])) == 0.25
    assert _apart(infinite, -infinite) == _apart(infinite, finite) == _apart(finite, np.array([np.nan, 1.0])) == np.inf


# Untrained, 49 blocks without the statistics of their batches overflow float32; iresnet50 has the same blocks.
@pytest.mark.slow
@pytest.mark.parametrize("choice", [choice for choice in MODELS if choice != "iresnet100"])
def test_every_model_exports(choice: str, tmp_path: Path) -> None:
    trained = untrained(tmp_path / "runs", choice)
    for name in part_names(trained.module):
        part = part_of(trained.module, trained.metadata, name)
        for chosen in SUFFIXES:
            run = write(part, chosen, {"run": "x"}, tmp_path / f"{name}{SUFFIXES[chosen]}")
            found = difference(run, trained.module, part, trained.metadata)
            print(f"{choice} {name} {chosen}: {found}")
            assert found.largest <= TOLERANCE * found.scale
