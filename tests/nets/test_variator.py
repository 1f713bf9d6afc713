"""The generator that varies an image bends and lights it as it says."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from facelab.nets import ImageVariator
from facelab.nets.variator import _Bicubic, displaced

WIDTHS = (8, 4)


def test_a_displacement_of_whole_pixels_shifts_the_image() -> None:
    images = torch.rand(2, 3, 6, 8)
    right_and_down = torch.tensor([2 * 2 / 8, 2 * 1 / 6]).reshape(1, 2, 1, 1).expand(2, -1, 6, 8)
    expected = F.pad(images, (0, 2, 0, 1), mode="replicate")[:, :, 1:, 2:]
    torch.testing.assert_close(displaced(images, right_and_down), expected)
    torch.testing.assert_close(displaced(images, torch.zeros(2, 2, 6, 8)), images)


def test_between_the_points_as_torch_does() -> None:
    coarse = torch.randn(2, 4, 3, 5)
    expected = F.interpolate(coarse, (24, 30), mode="bicubic", align_corners=False)
    torch.testing.assert_close(_Bicubic((3, 5), (24, 30))(coarse), expected)


def test_at_first_an_image_stays_as_it_is() -> None:
    torch.manual_seed(0)
    network, images = ImageVariator(4, (3, 16, 16), WIDTHS, code_dim=6), 2 * torch.rand(3, 3, 16, 16) - 1
    torch.testing.assert_close(network(images, torch.randn(3, 4)), images)


def test_the_same_everywhere_shifts_and_lights_the_whole_image() -> None:
    network, images = ImageVariator(4, (1, 16, 16), WIDTHS, code_dim=6), 1.4 * torch.rand(3, 1, 16, 16) - 0.7
    for weight in network.output.parameters():
        nn.init.constant_(weight, 0.25 if weight.ndim == 1 else 0)
    said = torch.tensor(0.25).tanh()
    shift = torch.full((3, 2, 16, 16), 0.25 * float(said))
    expected = displaced(images, shift) * torch.exp(0.5 * said) + 0.5 * said
    torch.testing.assert_close(network(images, torch.randn(3, 4)), expected.clamp(-1, 1))


def test_neighbouring_pixels_move_together() -> None:
    """Whatever the weights: points 8 pixels apart move by 4 pixels at most, so a slope of 1 stays below 3."""
    torch.manual_seed(0)
    network = ImageVariator(4, (1, 32, 32), (8, 4, 4), code_dim=6)
    with torch.no_grad():
        for weight in network.parameters():
            nn.init.normal_(weight, std=1)
        for weight in network.output.parameters():
            weight[2:] = 0  # moves only
    slope = torch.linspace(-0.5, 0.5, 32).expand(8, 1, 32, 32)
    steps = network(slope, torch.randn(8, 4)).diff(dim=3).abs() * 31
    assert 1.5 < steps.max() < 3


def test_an_image_depends_on_its_own_image_and_latent_alone() -> None:
    torch.manual_seed(0)
    network = ImageVariator(4, (3, 16, 16), WIDTHS, code_dim=6)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.2)
    images, latents = 2 * torch.rand(4, 3, 16, 16) - 1, torch.randn(4, 4)
    with torch.no_grad():
        made = network(images, latents)
        torch.testing.assert_close(network(images[1:3], latents[1:3]), made[1:3], rtol=1e-4, atol=1e-5)
        assert (network(images, latents.flip(0)) - made).abs().max() > 0.01
        assert (network(images.flip(0), latents) - made).abs().max() > 0.01
        assert network.encode(images).shape == (4, 6)
    assert made.shape == images.shape
    assert made.abs().max() <= 1


@pytest.mark.parametrize(
    ("shape", "code_dim", "says"),
    [((1, 18, 18), 6, "multiples of 4, got 18 x 18"), ((1, 16, 16), 0, "code_dim must be above 0, got 0")],
)
def test_what_cannot_be_built_is_refused(shape: tuple[int, int, int], code_dim: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ImageVariator(4, shape, WIDTHS, code_dim)
