"""The published networks: their sizes, the names of their weights, and the shapes they take."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from facelab.losses import arcface
from facelab.models.transfer import load_encoder
from facelab.nets import IResNet, MobileFaceNet
from tests.models.tiny import tiny_cnn


def _weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("depth", "published"), [(18, 24_025_600), (34, 34_139_328), (50, 43_590_848), (100, 65_156_160)]
)
def test_improved_residual_networks_have_the_published_number_of_weights(
    depth: Literal[18, 34, 50, 100], published: int
) -> None:
    with torch.device("meta"):
        assert _weights(IResNet((3, 112, 112), depth)) == published


def test_mobilefacenet_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        network = MobileFaceNet((3, 112, 112))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    # 0.99 million in the paper, which folds each normalisation into the biases of the convolution before it.
    assert round((_weights(network) - sum(norm.num_features for norm in norms)) / 1e6, 2) == 0.99


def _insightface_names(blocks: tuple[int, ...]) -> set[str]:
    """Names of the weights of InsightFace's arcface_torch, written from its list of layers."""

    def norm(name: str) -> set[str]:
        return {f"{name}.{of}" for of in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}

    names = {"conv1.weight", "prelu.weight", "fc.weight", "fc.bias", *norm("bn1"), *norm("bn2"), *norm("features")}
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            prefix = f"layer{stage}.{block}"
            names |= {f"{prefix}.{name}.weight" for name in ("conv1", "prelu", "conv2")}
            names |= norm(f"{prefix}.bn1") | norm(f"{prefix}.bn2") | norm(f"{prefix}.bn3")
        names |= {f"layer{stage}.0.downsample.0.weight"} | norm(f"layer{stage}.0.downsample.1")
    return names


@pytest.mark.parametrize(("depth", "blocks"), [(18, (2, 2, 2, 2)), (50, (3, 4, 14, 3)), (100, (3, 13, 30, 3))])
def test_weights_have_the_names_of_insightface(depth: Literal[18, 50, 100], blocks: tuple[int, ...]) -> None:
    with torch.device("meta"):
        state = IResNet((3, 112, 112), depth).state_dict()
    assert set(state) == _insightface_names(blocks)
    assert state["fc.weight"].shape == (512, 512 * 7 * 7)
    assert state["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert state["layer2.0.conv1.weight"].shape == (128, 64, 3, 3)


def test_a_file_of_insightfaces_form_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = IResNet((3, 32, 32), 18, embedding_dim=8)
    save_file(
        {name: torch.rand_like(value.float()) for name, value in network.state_dict().items()},
        tmp_path / "f.safetensors",
    )
    module = tiny_cnn(encoder=partial(IResNet, depth=18, embedding_dim=8), loss=arcface, image_shape=(3, 32, 32))
    load_encoder(module, tmp_path / "f.safetensors")
    assert module.encoder.state_dict()["layer3.1.conv2.weight"].std() == pytest.approx(12**-0.5, rel=1e-2)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "iresnet18": partial(IResNet, depth=18, embedding_dim=7),
    "mobilefacenet": partial(MobileFaceNet, embedding_dim=7),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("shape", [(3, 112, 96), (1, 50, 37), (1, 16, 16)])
def test_networks_take_other_sizes_and_repeat_grey_images(
    network: Callable[..., nn.Module], shape: tuple[int, int, int]
) -> None:
    encoder, images = network(image_shape=shape).eval(), torch.rand(2, *shape)
    with torch.no_grad():
        found = encoder(images)
        assert found.shape == (2, 7)
        assert torch.equal(found, encoder(images.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_networks_train_every_weight(network: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    module = tiny_cnn(encoder=network, loss=partial(arcface, scale=8.0), image_shape=(3, 32, 32))
    batch = {"image": torch.rand(4, 3, 32, 32) * 2 - 1, "label": torch.tensor([0, 1, 0, 1])}
    torch.autograd.backward(module.losses(batch)["loss"])
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in module.named_parameters() if parameter.grad is not None} == trained
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters() if parameter.grad is not None)
    fixed = {name for name, _ in module.named_parameters()} - trained
    assert fixed == ({"encoder.features.weight"} if isinstance(module.encoder, IResNet) else set())


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_small_images_and_wrong_arguments_are_refused(network: Callable[..., nn.Module]) -> None:
    for shape in ((1, 8, 64), (1, 64, 8)):
        with pytest.raises(ValueError, match=r"data\.image_size"):
            network(image_shape=shape)
    with pytest.raises(ValueError, match="embedding_dim"):
        network(image_shape=(1, 64, 64), embedding_dim=0)
    with pytest.raises(ValueError, match="dropout"):
        IResNet((1, 64, 64), dropout=1.0)
    with pytest.raises(ValueError, match="depth must be one of 18, 34, 50, 100, got 20"):
        IResNet((1, 64, 64), depth=20)  # type: ignore[arg-type]
