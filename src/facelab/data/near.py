"""Near-duplicate images: a perceptual hash of each, and the pairs whose hashes differ in few bits."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_BYTES = 32
NEAR_BITS = 16  # re-encoded and resized copies; on LFW and AT&T no two different photos: docs/data.md
MOST_NEAR = 20  # partners of one image: a set of frames of one video has billions of pairs

Hashes = NDArray[np.uint8]
_BITS = 8 * HASH_BYTES
LUMA_SIDE, _FREQUENCIES = 64, 16
# DCT-II, frequencies 1 to 16 of 64 pixels; without frequency 0, brightness does not matter.
_DCT = np.cos(
    np.pi / LUMA_SIDE * np.outer(np.arange(1, _FREQUENCIES + 1), np.arange(LUMA_SIDE) + 0.5),
).astype(np.float32)
_LUMA = np.array([19595, 38470, 7471], dtype=np.float32)  # ITU-R 601 in units of 2^-16


def perceptual_hash(image: NDArray[np.uint8] | Image.Image) -> Hashes:
    """Perceptual hash of an image: copies that were saved or resized again differ in few of its 256 bits.

    The luma is resized to 64 x 64 pixels, ignoring the aspect ratio. Each bit tells whether one of 16 x 16 DCT
    coefficients is above their median. Images without contrast have the hash 0.

    Source: PDQ, in "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", Facebook 2019. The
    resizing is Pillow's, so hashes of other PDQ libraries differ.

    Args:
        image: (H, W, C) uint8 with 1 or 3 channels, or a Pillow image. It costs about 0.1 ms at 64 x 64 and grows
            with the number of pixels: pass the resized image.

    Returns:
        (32,) uint8.
    """
    found: Hashes = hashes_of(small_luma(image)[None])[0]
    return found


def small_luma(image: NDArray[np.uint8] | Image.Image) -> NDArray[np.float32]:
    """Luma (64, 64), integers from 0 to 255, of an image as for `perceptual_hash`; the aspect ratio is ignored."""
    if isinstance(image, np.ndarray):
        if image.shape == (LUMA_SIDE, LUMA_SIDE, 3):
            # As Pillow's conversion, which takes longer; integers below 2^24 are exact in float32.
            luma: NDArray[np.float32] = np.floor((image @ _LUMA + np.float32(1 << 15)) / np.float32(1 << 16))
            return luma
        image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if image.mode != "L":
        image = image.convert("L")
    if image.size != (LUMA_SIDE, LUMA_SIDE):
        image = image.resize((LUMA_SIDE, LUMA_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)


def hashes_of(luma: NDArray[np.float32]) -> Hashes:
    """Perceptual hashes (N, 32) of the luma (N, 64, 64) of `small_luma`: much faster than one by one."""
    # Rounding errors must not decide the bits of an image of one colour.
    coefficients = (_DCT @ (luma - luma.mean(axis=(1, 2), keepdims=True)) @ _DCT.T).reshape(len(luma), -1)
    return np.packbits(coefficients > np.median(coefficients, axis=1, keepdims=True), axis=1)


def near_pairs(hashes: Hashes, most_bits: int = NEAR_BITS) -> NDArray[np.int64]:
    """Pairs of images whose hashes differ in at most `most_bits` bits. Exact, in memory proportional to N.

    Of images with equal hashes, each is paired with the first of them only, and only that one is compared with other
    hashes. An image has at most 20 near images of other hashes after it: the first 20, if there are more.

    Two hashes that differ in d bits agree in one of d + 1 bands of bits, so only images with an equal band are compared
    (multi-index hashing; M. Norouzi, A. Punjani and D. Fleet, "Fast Search in Hamming Space with Multi-Index Hashing",
    CVPR 2012). From about 40 bits on, bands are too short to help and all pairs are compared: minutes for 100,000.

    Args:
        hashes: (N, 32) uint8, of `perceptual_hash`.
        most_bits: at most so many of the 256 bits differ.

    Returns:
        (M, 2) int64 indices, the smaller one first, sorted.
    """
    words = np.ascontiguousarray(hashes).view(np.uint64)
    first = _first_equal(words)
    copies = np.flatnonzero(first != np.arange(len(words)))
    equal = np.stack([first[copies], copies], axis=1)
    distinct = np.flatnonzero(first == np.arange(len(words)))
    bands = _bands(hashes[distinct], most_bits)
    near = _first_partners([_near_in_band(words[distinct], key, most_bits) for key in bands])
    pairs = np.concatenate([equal, distinct[near]])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _first_equal(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Index (N,) of the first equal row, for each row."""
    order = np.lexsort(words.T)  # stable: equal rows stay in order
    starts = np.ones(len(words), dtype=bool)
    starts[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1)
    first = np.empty(len(words), dtype=np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


def _bands(hashes: Hashes, most_bits: int) -> Iterator[NDArray[np.uint64]]:
    """Keys (N,) of each band; hashes within `most_bits` bits have an equal key in one of them."""
    count = most_bits + 1
    if count >= 2 ** (_BITS // count):
        yield np.zeros(len(hashes), dtype=np.uint64)
        return
    for band in range(count):
        # Every count-th bit: neighbours correlate, and a band of them would have few values.
        key = np.zeros(len(hashes), dtype=np.uint64)
        for bit in range(band, _BITS, count):
            key = key << np.uint64(1) | (hashes[:, bit // 8] >> np.uint8(7 - bit % 8) & np.uint8(1))
        yield key


def _near_in_band(words: NDArray[np.uint64], key: NDArray[np.uint64], most_bits: int) -> NDArray[np.int64]:
    """Pairs (M, 2) of an equal key within `most_bits` bits; the first `MOST_NEAR` of each row."""
    order = np.argsort(key, kind="stable")
    sorted_words = words[order]
    _, sizes = np.unique(key, return_counts=True)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(key))  # rows of an equal key from this one on
    active = np.flatnonzero(left > 1)
    partners = np.zeros(len(key), dtype=np.int64)
    found, offset = [np.empty((0, 2), dtype=np.int64)], 0
    while len(active):
        offset += 1
        # One of the four words rules out most pairs.
        begin = np.bitwise_count(sorted_words[active, 0] ^ sorted_words[active + offset, 0])
        maybe = active[begin <= most_bits]
        bits = np.bitwise_count(sorted_words[maybe] ^ sorted_words[maybe + offset]).sum(axis=1, dtype=np.int64)
        near = maybe[bits <= most_bits]
        found.append(np.stack([order[near], order[near + offset]], axis=1))
        partners[near] += 1
        active = active[(left[active] > offset + 1) & (partners[active] < MOST_NEAR)]
    return np.concatenate(found)


def _first_partners(found: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Distinct pairs (M, 2), sorted; the first `MOST_NEAR` of each row."""
    pairs = np.unique(np.concatenate(found), axis=0)
    _, starts, counts = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    return pairs[np.arange(len(pairs)) - np.repeat(starts, counts) < MOST_NEAR]
