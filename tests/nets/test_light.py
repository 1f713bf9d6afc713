"""What is done about the light, against other implementations and by invariance."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from facelab.data.augment import SideLight
from facelab.data.faces import FaceSet
from facelab.models.base import to_float
from facelab.nets.encoders import ConvEncoder
from facelab.nets.light import LocalContrastNormalisation, blur, standardise


def test_standardised_pictures_do_not_know_the_light() -> None:
    images = torch.rand(4, 1, 16, 16)
    assert torch.allclose(standardise(images), standardise(0.3 * images - 0.5), atol=1e-4)
    assert standardise(torch.full((1, 1, 4, 4), 0.7)).abs().max() < 1e-3
    assert torch.allclose(standardise(images)[0], standardise(images[:1])[0])


def test_the_blur_is_opencvs_away_from_the_edge_and_a_mean_at_it() -> None:
    images = torch.rand(2, 3, 40, 50)
    for found, image in zip(blur(images, sigma=2.0), images, strict=True):
        expected = cv2.GaussianBlur(image.permute(1, 2, 0).numpy(), (25, 25), sigmaX=2.0)
        inner = (slice(12, -12), slice(12, -12))
        assert np.allclose(found.permute(1, 2, 0).numpy()[inner], expected[inner], atol=1e-5)
    assert torch.allclose(blur(torch.full((1, 1, 9, 7), 0.3), sigma=4.0), torch.tensor(0.3))


def test_local_contrast_by_hand() -> None:
    # Two pixels in a row of logarithms log(1) and log(e^2); a wide neighbourhood gives both weight 1/2 everywhere.
    offset = 1e-3
    levels = torch.tensor([[[[0.1, 0.1 * np.e**2]]]]) - offset
    normalise = LocalContrastNormalisation(sigma=1e3, offset=offset, floor=0.5)
    # Standardised: -1 and 1; mean 0, variance 1; divided by sqrt(1 + 0.5^2).
    expected = torch.tensor([[[[-1.0, 1.0]]]]) / 1.25**0.5
    assert torch.allclose(normalise(2 * levels - 1), expected, atol=1e-4)


def test_more_light_on_all_of_a_face_changes_nothing(orl: FaceSet) -> None:
    levels = torch.from_numpy(np.stack([orl.pixels[i] for i in range(4)])).permute(0, 3, 1, 2) / 255.0
    levels = levels.clamp_min(0.05)
    normalise = LocalContrastNormalisation(offset=1e-6)
    assert torch.allclose(normalise(2 * levels - 1), normalise(2 * (0.4 * levels) - 1), atol=1e-3)


def test_light_from_a_side_changes_little_of_a_face(orl: FaceSet) -> None:
    image = orl.pixels[0]
    lit = SideLight().apply(image, from_rad=0.3, edge=0.0, softness=0.7, dark=0.25)
    before, after = (to_float(torch.from_numpy(one[None].copy()).permute(0, 3, 1, 2)) for one in (image, lit))
    normalise = LocalContrastNormalisation()

    def likeness(one: torch.Tensor, other: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])

    assert likeness(normalise(before), normalise(after)) > 0.9
    assert likeness(standardise(before), standardise(after)) < 0.8


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 64, 48), (1, 5, 3), (4, 1, 1)])
def test_any_size_and_precision(shape: tuple[int, int, int]) -> None:
    images = torch.rand(2, *shape) * 2 - 1
    normalise = LocalContrastNormalisation()
    found = normalise(images)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(normalise(images), found, atol=1e-5)
    assert torch.allclose(normalise(images[:1]), found[:1], atol=1e-4)  # whatever else is in the batch
    black, white = torch.full((1, *shape), -1.0), torch.full((1, *shape), 1.0)
    assert normalise(black).abs().max() < 1e-3
    assert normalise(white).abs().max() < 1e-3
    assert normalise(images.to(torch.bfloat16)).isfinite().all()


def test_it_has_no_weights_and_goes_with_an_encoder_through_safetensors(tmp_path: Path) -> None:
    def encoder() -> ConvEncoder:
        return ConvEncoder((1, 32, 32), widths=(4, 8), embedding_dim=6, normalisation=LocalContrastNormalisation())

    one, other = encoder().eval(), encoder().eval()
    assert one.state_dict().keys() == ConvEncoder((1, 32, 32), widths=(4, 8), embedding_dim=6).state_dict().keys()
    save_file(one.state_dict(), tmp_path / "encoder.safetensors")
    other.load_state_dict(load_file(tmp_path / "encoder.safetensors"))
    images = torch.rand(3, 1, 32, 32) * 2 - 1
    assert torch.equal(one(images), other(images))


@pytest.mark.parametrize("wrong", ["sigma", "offset", "floor"])
def test_wrong_arguments_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"{wrong} must be above 0"):
        LocalContrastNormalisation(**{wrong: 0.0})
