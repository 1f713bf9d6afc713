"""Alignment to the template, against a linear least-squares solution and photos transformed by hand."""

import cv2
import numpy as np
import pytest

from facelab.data.photos.align import align, template, transform_of


def _by_least_squares(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity x' = a x - b y + c, y' = b x + a y + d as a linear problem in a, b, c, d."""
    rows, values = [], []
    for (x, y), (u, v) in zip(points, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d], [0, 0, 1]])


@pytest.mark.parametrize("size", [64, 112, 200])
def test_the_transform_is_the_least_squares_similarity(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(20):
        points = template(112) * rng.uniform(0.3, 5) + rng.normal(0, 8, (5, 2)) + rng.uniform(-50, 500, 2)
        np.testing.assert_allclose(transform_of(points, size), _by_least_squares(points, template(size)), atol=1e-6)


def test_the_template_is_arcfaces() -> None:
    assert template(112)[0].tolist() == [38.2946, 51.6963]
    np.testing.assert_allclose(template(224), 2 * template(112))


@pytest.mark.parametrize(("angle", "scale"), [(0, 1.0), (30, 0.6), (-75, 2.0), (180, 7.0)])
def test_dots_at_the_points_come_to_lie_on_the_template(angle: float, scale: float) -> None:
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (template(112) - 56) @ rotation.T * scale + 500
    photo = np.zeros((1000, 1000, 3), dtype=np.uint8)
    radius = 3 * scale
    y, x = np.mgrid[:1000, :1000] + 0.5
    for point in points:
        photo[np.hypot(x - point[0], y - point[1]) < radius] = 255
    crop = align(photo, points, 112)
    _, _, _, centres = cv2.connectedComponentsWithStats((crop[..., 0] > 127).astype(np.uint8))
    found = centres[1:] + 0.5
    assert len(found) == 5
    for point in template(112):
        assert np.linalg.norm(found - point, axis=1).min() < 0.5


def test_a_large_face_is_averaged_not_sampled() -> None:
    """A pattern of single pixels becomes grey; picking pixels would give black or white."""
    photo = np.indices((1200, 1200)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 255
    crop = align(photo.astype(np.uint8), template(112) * 8 + 100, 112)
    assert np.abs(crop.astype(int) - 127).max() < 20


def test_beyond_the_edge_is_black_and_inside_is_exact() -> None:
    photo = np.random.default_rng(0).integers(1, 256, (112, 112, 3), dtype=np.uint8)
    assert (align(photo, template(112), 112) == photo).all()
    shifted = align(photo, template(112) + np.array([-30, 0]), 112)
    assert (shifted[:, 30:] == photo[:, :82]).all()
    assert (shifted[:, :30] == 0).all()


@pytest.mark.parametrize("shift", [(-5000, 0), (5000, 5000)])
def test_a_face_outside_the_photo_is_black(shift: tuple[int, int]) -> None:
    photo = np.full((50, 50, 3), 255, dtype=np.uint8)
    assert not align(photo, template(112) * 3 + shift, 112).any()
