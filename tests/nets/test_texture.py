"""Local binary patterns against scikit-image's, and the encoder that has them beside a network."""

import numpy as np
import pytest
import torch
from skimage.feature import local_binary_pattern
from sklearn.decomposition import PCA
from torch import Tensor

from facelab.data import ORL
from facelab.models.base import to_float
from facelab.nets import ConvTextureEncoder, ResidualTextureEncoder
from facelab.nets.projection import PrincipalComponents
from facelab.nets.texture import LocalBinaryPatterns

RADII = (1, 2, 4)


@pytest.fixture(scope="module")
def faces() -> Tensor:
    pixels = np.stack([ORL(image_size=36).load().pixels[i] for i in range(0, 400, 8)])
    return to_float(torch.from_numpy(pixels).permute(0, 3, 1, 2))


def _reference(image: Tensor, radius: int, cell: int) -> list[np.ndarray]:
    """Sorted shares of the patterns in each cell of the inside, since scikit-image numbers patterns differently."""
    grey = (image[0].double().numpy() + 1) * 127.5
    patterns = local_binary_pattern(grey.round().astype(np.uint8), 8, radius, "nri_uniform").astype(int)
    inside = range(cell, len(grey) - cell, cell)
    return [
        np.sort(np.bincount(patterns[y : y + cell, x : x + cell].ravel(), minlength=59)) / cell**2
        for y in inside
        for x in inside
    ]


def test_the_patterns_inside_are_those_of_scikit_image(faces: Tensor) -> None:
    texture = LocalBinaryPatterns((1, 36, 36), RADII, cells=9)  # of 4 x 4 pixels: the outer cells see the edge
    shares = texture(faces).square().reshape(len(faces), len(RADII), 9, 9, 59)[:, :, 1:-1, 1:-1].flatten(2, 3)
    for number, radius in enumerate(RADII):
        expected = np.stack([_reference(face, radius, cell=4) for face in faces])
        found = np.sort(shares[:, number].numpy(), axis=-1)
        assert np.abs(found - expected).max(axis=-1).mean() < 0.002  # ties, decided by rounding there


def test_brightness_and_contrast_change_nothing(faces: Tensor) -> None:
    texture = LocalBinaryPatterns((1, 36, 36), RADII)
    changed = (texture(faces) - texture(faces * 0.5 + 0.3)).abs()
    assert changed.mean() < 1e-4  # a few neighbours are as bright as the centre but for rounding


def test_colour_is_read_as_grey(faces: Tensor) -> None:
    grey, colour = LocalBinaryPatterns((1, 36, 36), RADII), LocalBinaryPatterns((3, 36, 36), RADII)
    assert (grey(faces) - colour(faces.expand(-1, 3, -1, -1))).abs().mean() < 1e-4


def test_the_components_are_those_of_scikit_learn() -> None:
    features = torch.randn(200, 60, generator=torch.Generator().manual_seed(0)) * torch.logspace(1, -2, 60)
    components = PrincipalComponents(60, 8)
    before = torch.random.get_rng_state()
    components.fit(features)
    assert torch.equal(before, torch.random.get_rng_state())
    expected = PCA(8).fit(features.numpy()).transform(features.numpy())
    assert np.allclose(np.abs(components(features).numpy()), np.abs(expected), rtol=1e-2, atol=1e-3)


def test_fewer_images_than_components_leave_zeros() -> None:
    components = PrincipalComponents(60, 8)
    components.fit(torch.randn(5, 60))
    assert (components.axes[:, 4:] == 0).all()
    assert components.axes[:, :4].norm(dim=0).allclose(torch.ones(4))


def test_repeated_images_have_no_directions_of_their_own() -> None:
    features, once, repeated = torch.randn(5, 60), PrincipalComponents(60, 40), PrincipalComponents(60, 40)
    once.fit(features)
    repeated.fit(features.repeat(9, 1))
    assert (repeated.axes[:, 4:] == 0).all()
    new = torch.randn(3, 60)
    assert torch.allclose(repeated(new).abs(), once(new).abs(), atol=1e-3)


@pytest.mark.parametrize("kind", [ConvTextureEncoder, ResidualTextureEncoder])
def test_the_cosine_is_the_mean_of_both_cosines_and_training_sees_the_network_alone(
    kind: type[ConvTextureEncoder | ResidualTextureEncoder], faces: Tensor
) -> None:
    encoder = kind((1, 36, 36), widths=(8, 8), embedding_dim=16, components=12)
    encoder.fit(iter(torch.split(faces, 20)))
    assert encoder(faces).shape == (len(faces), 16)
    whole = encoder.eval()(faces)
    assert whole.shape == (len(faces), 28)
    parts = whole[:, :16], encoder.components(encoder.texture(faces))
    first, second = (torch.nn.functional.cosine_similarity(part[:1], part[1:]) for part in parts)
    both = torch.nn.functional.cosine_similarity(whole[:1], whole[1:])
    assert torch.allclose(both, (first + second) / 2, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"radii": ()}, {"radii": (0.5,)}, {"cells": 0}, {"cells": 40}])
def test_wrong_arguments_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"radii and cells|grid of 40"):
        LocalBinaryPatterns((1, 36, 36), **wrong)  # type: ignore[arg-type]
