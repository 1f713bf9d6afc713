"""Metrics of reconstructed pictures by hand and against scikit-image."""

import numpy as np
import pytest
import skimage.metrics
import torch
from torch import Tensor

from facelab.metrics.reconstruction import psnr_db, squared_errors, ssim


def pictures(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Smooth ones, and the same with noise that grows from picture to picture."""
    random = torch.Generator().manual_seed(seed)
    count, channels, height, width = shape
    coarse = torch.rand(count, channels, 4, 4, generator=random) * 2 - 1
    original = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noise = torch.randn(shape, generator=random) * torch.linspace(0.02, 0.6, count).view(-1, 1, 1, 1)
    return (original + noise).clamp(-1, 1), original


def test_squared_errors_are_those_of_grey_levels_from_0_to_1() -> None:
    original = torch.full((3, 1, 1, 2), -1.0)
    reconstruction = torch.tensor([[1.0, 1.0], [-1.0, 0.0], [-1.0, -1.0]]).view(3, 1, 1, 2)
    # From black to white and to mid grey.
    assert squared_errors(reconstruction, original).tolist() == pytest.approx([1, 0.25 / 2, 0])


def test_psnr_by_hand() -> None:
    assert psnr_db(torch.tensor([1.0, 0.1, 0.01, 1e-4])).tolist() == pytest.approx([0, 10, 20, 40])


def test_psnr_agrees_with_scikit_image() -> None:
    reconstruction, original = pictures(0, 5, 3, 20, 24)
    expected = [
        skimage.metrics.peak_signal_noise_ratio(x, y, data_range=2)
        for x, y in zip(original.double().numpy(), reconstruction.double().numpy(), strict=True)
    ]
    assert psnr_db(squared_errors(reconstruction, original)).tolist() == pytest.approx(expected, rel=1e-5)


def test_psnr_of_identical_pictures_is_high_and_finite() -> None:
    (found,) = psnr_db(torch.zeros(1)).tolist()
    assert 90 < found < 200


def skimage_ssim(reconstruction: Tensor, original: Tensor) -> list[float]:
    """scikit-image leaves a border of half a window out; with pictures mirrored at their edges, as torchmetrics has
    them, that border is just the mirrored part."""
    mirrored = [
        np.pad(images.double().numpy(), ((0, 0), (0, 0), (5, 5), (5, 5)), mode="reflect")
        for images in (reconstruction, original)
    ]
    return [
        skimage.metrics.structural_similarity(
            (x + 1) / 2,
            (y + 1) / 2,
            data_range=1,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(*mirrored, strict=True)
    ]


@pytest.mark.parametrize("shape", [(5, 1, 32, 32), (5, 3, 32, 48), (1, 1, 11, 17)])
def test_ssim_agrees_with_scikit_image(shape: tuple[int, int, int, int]) -> None:
    reconstruction, original = pictures(0, *shape)
    found, expected = ssim(reconstruction, original), skimage_ssim(reconstruction, original)
    assert found.shape == shape[:1]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    assert len(expected) == 1 or max(expected) - min(expected) > 0.3


def test_ssim_is_1_for_identical_pictures_and_below_0_for_negatives() -> None:
    images = torch.rand(4, 1, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert ssim(images, images).tolist() == pytest.approx([1] * 4, abs=1e-5)
    assert (ssim(0.5 - images / 2, 0.5 + images / 2) < -0.5).all()  # the light is the same


def test_ssim_of_a_picture_does_not_depend_on_its_batch() -> None:
    reconstruction, original = pictures(1, 4, 1, 16, 16)
    alone = [ssim(reconstruction[i : i + 1], original[i : i + 1]) for i in range(4)]
    assert torch.allclose(torch.cat(alone), ssim(reconstruction, original), atol=1e-6)


@pytest.mark.parametrize("size", [(10, 64), (64, 10), (4, 4)])
def test_pictures_smaller_than_the_window_have_no_ssim(size: tuple[int, int]) -> None:
    images = torch.rand(3, 1, *size)
    found = ssim(images, images)
    assert found.shape == (3,)
    assert found.isnan().all()


def test_ssim_is_as_exact_in_mixed_precision() -> None:
    # Bright pictures of low contrast: a difference of squares, of which bfloat16 would keep nothing.
    reconstruction, original = (0.8 + 0.05 * images for images in pictures(0, 3, 1, 32, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ssim(reconstruction, original)
    assert found.tolist() == pytest.approx(skimage_ssim(reconstruction, original), abs=1e-3)
