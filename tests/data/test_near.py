"""The perceptual hash, and pairs of near hashes against all pairs."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from facelab.data.faces import FaceSet
from facelab.data.near import MOST_NEAR, NEAR_BITS, near_pairs, perceptual_hash, small_luma
from facelab.data.sources.orl import ORL

Hashes = NDArray[np.uint8]


def _all_pairs(hashes: Hashes, most_bits: int) -> NDArray[np.int64]:
    """By the whole matrix of distances."""
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2)
    return np.argwhere(np.triu(distances <= most_bits, 1))


def _flipped(hashes: Hashes, bits: int, generator: np.random.Generator) -> Hashes:
    """Each hash with so many random bits flipped."""
    unpacked = np.unpackbits(hashes, axis=1)
    for row in unpacked:
        row[generator.choice(256, bits, replace=False)] ^= 1
    return np.packbits(unpacked, axis=1)


def _random(count: int, seed: int = 0) -> Hashes:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def planted() -> Hashes:
    """400 random hashes, and neighbours of the first 300 at 1 to 60 bits."""
    generator, hashes = np.random.default_rng(1), _random(400)
    near = [_flipped(hashes[row : row + 1], 1 + row % 60, generator) for row in range(300)]
    return np.concatenate([hashes, *near])


@pytest.mark.parametrize("most_bits", [0, 1, 7, 16, 31, 41, 42, 60, 200, 256])
def test_pairs_are_those_of_the_whole_matrix(planted: Hashes, most_bits: int) -> None:
    hashes = planted if most_bits < 100 else planted[:20]
    expected = _all_pairs(hashes, most_bits)
    assert np.array_equal(near_pairs(hashes, most_bits), expected)
    assert len(expected) == (5 * most_bits if most_bits <= 60 else 190)


@pytest.mark.parametrize("common", [0, 100, 180])
def test_pairs_of_hashes_with_crowded_bands(common: int) -> None:
    """Some bits equal in all hashes, as in those of aligned faces."""
    bits = np.unpackbits(_random(300, seed=common), axis=1)
    bits[:, :common] = 1
    hashes = np.concatenate([np.packbits(bits, axis=1)] * 2)
    hashes[300:] = _flipped(hashes[300:], 9, np.random.default_rng(2))
    expected = _all_pairs(hashes, NEAR_BITS)
    assert len(expected) >= 300
    assert np.array_equal(near_pairs(hashes), expected)


def test_the_order_of_the_images_does_not_matter(planted: Hashes) -> None:
    order = np.random.default_rng(3).permutation(len(planted))
    found = np.sort(order[near_pairs(planted[order])], axis=1)
    assert np.array_equal(found[np.lexsort(found.T[::-1])], near_pairs(planted))


def test_equal_hashes_are_paired_with_the_first_of_them_only() -> None:
    one, far = _random(2)
    near = _flipped(one[None], 3, np.random.default_rng(4))[0]
    hashes = np.stack([far, one, near, one, near, one])
    assert near_pairs(hashes, 3).tolist() == [[1, 2], [1, 3], [1, 5], [2, 4]]


def test_equal_hashes_of_a_large_set_cost_one_pair_each() -> None:
    pairs = near_pairs(np.zeros((200_000, 32), dtype=np.uint8))
    assert np.array_equal(pairs[:, 1], np.arange(1, 200_000))
    assert not pairs[:, 0].any()


def test_an_image_among_many_near_ones_keeps_the_first() -> None:
    """1,024 hashes within 10 bits of each other: half a million pairs."""
    hashes = np.zeros((1024, 32), dtype=np.uint8)
    hashes[:, [3, 20]] = np.arange(1024, dtype=">u2")[:, None].view(np.uint8)
    pairs = near_pairs(hashes, 10)
    expected = [(row, row + 1 + partner) for row in range(1024) for partner in range(min(MOST_NEAR, 1023 - row))]
    assert np.array_equal(pairs, expected)


@pytest.mark.parametrize("count", [0, 1])
def test_no_pairs_without_two_images(count: int) -> None:
    assert near_pairs(_random(count)).shape == (0, 2)


def _bits_apart(one: Hashes, other: Hashes) -> int:
    return int(np.bitwise_count(one ^ other).sum())


def test_altered_copies_of_att_are_near_and_other_photos_are_not() -> None:
    faces = ORL(last_person=10).load()
    images = [Image.fromarray(faces.pixels[index][..., 0]) for index in range(len(faces))]
    hashes = np.stack([perceptual_hash(image) for image in images])
    assert len(near_pairs(hashes)) == 0
    for image, original in zip(images, hashes, strict=True):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=50)
        halved = image.resize((32, 32), Image.Resampling.BILINEAR)
        for copy in (Image.open(file), halved, image.resize((58, 58)), image.point(lambda level: round(level * 0.9))):
            assert _bits_apart(perceptual_hash(copy), original) <= NEAR_BITS


def test_bits_are_those_of_scipy(orl: FaceSet) -> None:
    for index in range(0, 400, 40):
        image = Image.fromarray(orl.pixels[index][..., 0]).resize((64, 64), Image.Resampling.BILINEAR)
        # scipy's DCT-II differs by a factor of 2 a dimension, which the median cancels.
        coefficients = dctn(np.asarray(image, dtype=float))[1:17, 1:17].ravel()
        expected = np.packbits(coefficients > np.median(coefficients))
        assert _bits_apart(perceptual_hash(orl.pixels[index]), expected) <= 2  # rounding at the median


def test_grey_in_any_form_has_one_hash(orl: FaceSet) -> None:
    image = orl.pixels[0]
    expected = perceptual_hash(image)
    assert expected.shape == (32,)
    assert expected.dtype == np.uint8
    assert np.array_equal(perceptual_hash(image.repeat(3, axis=2)), expected)
    assert np.array_equal(perceptual_hash(Image.fromarray(image[..., 0])), expected)


@pytest.mark.parametrize("level", [0, 1, 100, 255])
def test_an_image_of_one_colour_has_the_hash_zero(level: int) -> None:
    assert not perceptual_hash(np.full((50, 40, 3), level, dtype=np.uint8)).any()


def test_luma_is_pillows() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(small_luma(image), np.asarray(Image.fromarray(image).convert("L"), dtype=np.float32))
