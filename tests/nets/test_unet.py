"""The U-Net: shapes, what it depends on, and what it refuses."""

import pytest
import torch
from torch import Tensor, nn

from facelab.nets import UNet
from facelab.nets.unet import ConditionedBlock


def _trained(**arguments: object) -> UNet:
    """A small network without the zeros that it begins with."""
    torch.manual_seed(0)
    network = UNet(**{"image_shape": (1, 16, 16), "widths": (8, 16), "patch": 2, **arguments})  # type: ignore[arg-type]
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.2)
    return network.eval()


def _inputs(count: int = 4, channels: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(count, channels, 16, 16), torch.randn(count), torch.arange(count) % 3


def test_a_new_network_returns_zeros_and_a_new_block_its_shortcut() -> None:
    images, noise, labels = _inputs()
    assert not UNet((1, 16, 16), widths=(8, 16), patch=2)(images, noise, labels).any()
    features, condition = torch.randn(2, 8, 4, 4), torch.randn(2, 5)
    assert torch.equal(ConditionedBlock(8, 8, 5)(features, condition), features)


@pytest.mark.parametrize(("shape", "patch"), [((3, 16, 16), 2), ((1, 32, 16), 4), ((1, 8, 8), 1)])
def test_shapes(shape: tuple[int, int, int], patch: int) -> None:
    network, images = _trained(image_shape=shape, widths=(8, 12, 16), patch=patch), torch.randn(2, *shape)
    noise, labels = torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    assert network(images, noise, labels).shape == images.shape
    smallest = shape[1] // patch // 4 * (shape[2] // patch // 4)
    assert network.features(images, noise, labels).shape == (2, (8 + 12 + 16) * smallest)


def test_every_output_depends_on_its_own_image_alone() -> None:
    network, (images, noise, labels) = _trained(num_labels=3), _inputs()
    whole = network(images, noise, labels)
    parts = torch.cat([network(images[i : i + 1], noise[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)


def test_the_output_depends_on_everything_given() -> None:
    network, (images, noise, labels) = _trained(num_labels=3), _inputs()
    before = network(images, noise, labels)
    assert (network(images, noise + 0.1, labels) != before).any(dim=(1, 2, 3)).all()
    assert (network(images, noise, torch.full_like(labels, 3)) != before).any(dim=(1, 2, 3)).all()  # no label
    moved = images.clone()
    moved[:, :, 0, 0] += 1
    changed = (network(moved, noise, labels) != before).any(dim=0)[0]
    assert changed[0, 0]
    assert changed[15, 15]  # far away, through the smallest map
    unlabelled = _trained()
    assert torch.equal(unlabelled(images, noise, labels), unlabelled(images, noise, labels + 1))


def test_every_weight_is_trained() -> None:
    network, given = _trained(num_labels=3), _inputs()
    network(*given).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"multiples of 16, got 50 x 50; change data.image_size, patch, or"):
        UNet((1, 50, 50))
    for wrong in ({"widths": ()}, {"widths": (8, 0)}, {"depth": 0}, {"patch": 0}, {"condition_dim": 0}):
        with pytest.raises(ValueError, match="must be above 0"):
            UNet((1, 64, 64), **wrong)
