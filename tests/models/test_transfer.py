"""Weights from elsewhere, and learning rates by layer."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from facelab.errors import ConfigError
from facelab.losses import supervised_contrastive
from facelab.models import Transfer
from facelab.models.transfer import find_weights, load_encoder, weights_digest
from facelab.nets import ConvEncoder, ConvTextureEncoder
from facelab.nets.encoders import ImageShape
from facelab.tracking import SqliteStore
from tests.models.tiny import tiny_cnn


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_a_file_of_weights_is_loaded_with_or_without_a_head(tmp_path: Path, prefix: str) -> None:
    given, path = tiny_cnn(), tmp_path / "backbone.safetensors"
    weights = {f"{prefix}{name}": value for name, value in given.encoder.state_dict().items()}
    weights = {name: value for name, value in weights.items() if "num_batches_tracked" not in name}  # as in old files
    save_file(weights | ({"head.centres": torch.zeros(1000, 4)} if prefix else {}), path)
    module = tiny_cnn(init_from=str(path))
    assert find_weights(str(path), tmp_path / "runs", SqliteStore(str(tmp_path))) == path
    load_encoder(module, path)
    images = torch.rand(3, 1, 16, 16)
    assert torch.equal(module.eval().embed(images), given.eval().embed(images))
    assert len(weights_digest(path)) == 64


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    weights = tiny_cnn().encoder.state_dict()
    save_file({**weights, "fc.weight": torch.zeros(2, 3), "embed.1.weight": torch.zeros(4, 7)}, path)
    with pytest.raises(
        ConfigError, match=r"embed\.1\.weight: 4x7 there, 4x256 here; fc\.weight: 2x3 there, absent here"
    ):
        load_encoder(tiny_cnn(), path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ConfigError, match=r"backbone\.safetensors: the file cannot be read"):
        load_encoder(tiny_cnn(), path)
    torch.save(weights, tmp_path / "backbone.pth")
    with pytest.raises(ConfigError, match=r"expected a \.safetensors file.*weights_only=True"):
        find_weights(str(tmp_path / "backbone.pth"), tmp_path / "runs", SqliteStore(str(tmp_path)))


def test_learning_rates_fall_by_layer_towards_the_input() -> None:
    module = tiny_cnn(
        encoder=partial(ConvEncoder, widths=[4, 8], embedding_dim=4),
        optimizer=partial(torch.optim.SGD, lr=0.8),
        init_from="a run",
        layer_decay=0.5,
    )
    names = {parameter: name for name, parameter in module.named_parameters()}
    groups = module.configure_optimizers().param_groups
    rates = {names[parameter]: group["lr"] for group in groups for parameter in group["params"]}
    assert rates == {
        "encoder.blocks.0.0.weight": 0.1,
        "encoder.blocks.0.1.weight": 0.1,
        "encoder.blocks.0.1.bias": 0.1,
        "encoder.blocks.1.0.weight": 0.2,
        "encoder.blocks.1.1.weight": 0.2,
        "encoder.blocks.1.1.bias": 0.2,
        "encoder.embed.1.weight": 0.4,
        "encoder.embed.2.weight": 0.4,  # the normalisation belongs to the linear map before it
        "encoder.embed.2.bias": 0.4,
        "head.centres": 0.8,
    }


class _Wrapped(nn.Module):
    """An encoder that holds another one, as `TimmEncoder` does."""

    def __init__(self, image_shape: ImageShape, inner: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.backbone = inner(image_shape=image_shape)
        self.embedding_dim = 4

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.backbone(images)
        return embeddings


class _OneLayer(nn.Sequential):
    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__(nn.Flatten(), nn.Linear(math.prod(image_shape), 4))


def test_layers_of_a_wrapped_encoder_are_told_apart_and_a_single_layer_is_refused() -> None:
    inner = partial(ConvEncoder, widths=[4, 8], embedding_dim=4)
    decaying = {"optimizer": partial(torch.optim.SGD, lr=0.8), "init_from": "a run", "layer_decay": 0.5}
    plain, wrapped = (tiny_cnn(encoder=one, **decaying) for one in (inner, partial(_Wrapped, inner=inner)))
    rates = [[group["lr"] for group in one.configure_optimizers().param_groups] for one in (plain, wrapped)]
    assert rates == [[0.1, 0.2, 0.4, 0.8]] * 2
    single = tiny_cnn(encoder=partial(_Wrapped, inner=_OneLayer), **decaying)
    with pytest.raises(ValueError, match=r"model\.layer_decay=0\.5: the encoder's weights are all in one module"):
        single.configure_optimizers()


def test_layers_without_a_head_and_without_decay() -> None:
    without = tiny_cnn(head=None, loss=supervised_contrastive, init_from="a run", layer_decay=0.5)
    assert [group["lr"] for group in without.configure_optimizers().param_groups] == [0.25e-3, 0.5e-3]
    (group,) = tiny_cnn(init_from="a run").configure_optimizers().param_groups
    assert len(group["params"]) == len(list(tiny_cnn().parameters()))


def test_keys_without_what_they_need_are_refused() -> None:
    with pytest.raises(ValueError, match="layer_decay is for an encoder that is given and trained"):
        Transfer(layer_decay=0.5)
    with pytest.raises(ValueError, match="layer_decay is for an encoder that is given and trained"):
        Transfer(init_from="a run", freeze="encoder", layer_decay=0.5)
    with pytest.raises(ValueError, match="leaves nothing to train"):
        tiny_cnn(head=None, loss=supervised_contrastive, init_from="a run", freeze="encoder")


def test_a_frozen_encoder_keeps_the_components_that_it_came_with(tmp_path: Path) -> None:
    texture = partial(ConvTextureEncoder, widths=[4], embedding_dim=4, components=3)
    given, path = tiny_cnn(encoder=texture, image_shape=(1, 32, 32)), tmp_path / "texture.safetensors"
    here, elsewhere = torch.rand(2, 20, 1, 32, 32).unbind()
    given.prepare_training([elsewhere])
    save_file(given.encoder.state_dict(), path)
    module = tiny_cnn(encoder=texture, image_shape=(1, 32, 32), init_from=str(path), freeze="encoder")
    load_encoder(module, path)
    module.prepare_training([here])
    assert torch.equal(module.eval().embed(here), given.eval().embed(here))
