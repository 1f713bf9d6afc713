"""Print how well hashes find altered copies, and what else they find: measure.py FOLDER... (a folder a person each)."""

import io
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy.fft import dctn

from facelab.data.images import SUFFIXES
from facelab.data.near import perceptual_hash
from facelab.system import cores

Bits = NDArray[np.uint8]  # (32,), as of `perceptual_hash`; shorter hashes end in zeros


def _packed(bits: NDArray[np.bool_]) -> Bits:
    return np.packbits(np.pad(bits.ravel(), (0, 256 - bits.size)))


def _resized(image: Image.Image, width: int, height: int) -> NDArray[np.float64]:
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64)


def difference_hash(side: int) -> Callable[[Image.Image], Bits]:
    """Bits: is a pixel brighter than its left neighbour (N. Krawetz, "Kind of Like That", 2013)."""
    return lambda image: _packed(np.diff(_resized(image, side + 1, side), axis=1) > 0)


def difference_hash_both(image: Image.Image) -> Bits:
    """Differences of 11 x 11 pixels to the left and to the upper neighbour (the `dhash` package on PyPI)."""
    pixels = _resized(image, 12, 12)
    return _packed(np.stack([np.diff(pixels, axis=1)[:11] > 0, np.diff(pixels, axis=0)[:, :11] > 0]))


def dct_hash(image: Image.Image) -> Bits:
    """Bits: the 16 x 16 lowest DCT coefficients above their median (`phash` of the ImageHash package)."""
    coefficients = dctn(_resized(image, 64, 64))[:16, :16]
    return _packed(coefficients > np.median(coefficients))


HASHES: dict[str, tuple[Callable[[Image.Image], Bits], tuple[int, ...]]] = {
    "dhash 8x8, 64 bits": (difference_hash(8), (0, 2, 4)),
    "dhash 16x16": (difference_hash(16), (8, 16, 24, 32)),
    "dhash 11x11, both ways": (difference_hash_both, (8, 16, 24, 32)),
    "pHash 16x16": (dct_hash, (8, 16, 24, 32, 48)),
    "PDQ": (perceptual_hash, (8, 16, 24, 32, 48, 60)),
}


def _jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def saved(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return saved


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BILINEAR)


def _cropped(image: Image.Image) -> Image.Image:
    x, y = max(1, round(image.width * 0.02)), max(1, round(image.height * 0.02))
    return image.crop((x, y, image.width, image.height))


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 90": _jpeg(90),
    "JPEG 70": _jpeg(70),
    "JPEG 50": _jpeg(50),
    "JPEG 30": _jpeg(30),
    "half, back": lambda image: _scaled(image, 0.5).resize(image.size, Image.Resampling.BILINEAR),
    "0.9x": lambda image: _scaled(image, 0.9),
    "+10 %": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "crop 2 %": _cropped,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def hashes_of(path: Path) -> NDArray[np.uint8]:
    """(1 + alterations, hashes, 32) of an image and its altered copies."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    copies = [copy.convert("L") for copy in (image, *(alter(image) for alter in ALTERATIONS.values()))]
    return np.stack([[function(copy) for function, _ in HASHES.values()] for copy in copies])


def pair_counts(hashes: Bits, people: NDArray[np.int64]) -> NDArray[np.int64]:
    """(2, 257): pairs of images by distance, and those of different people."""
    words, counts = np.ascontiguousarray(hashes).view(np.uint64), np.zeros((2, 257), dtype=np.int64)
    for index in range(len(words)):
        bits = np.bitwise_count(words[index] ^ words[index + 1 :]).sum(axis=1, dtype=np.int64)
        counts[0] += np.bincount(bits, minlength=257)
        counts[1] += np.bincount(bits[people[index + 1 :] != people[index]], minlength=257)
    return counts


def main() -> None:
    """Print Markdown."""
    roots = [Path(folder) for folder in sys.argv[1:]]
    files = [sorted(path for path in root.glob("*/*") if path.suffix.lower() in SUFFIXES) for root in roots]
    with ProcessPoolExecutor(cores()) as pool:
        sets = [np.stack(list(pool.map(hashes_of, paths, chunksize=32))) for paths in files]
    people = [np.unique([path.parent.name for path in paths], return_inverse=True)[1] for paths in files]
    names = [f"{root.name}: {len(paths):,}" for root, paths in zip(roots, files, strict=True)]
    print("| hash | bits | " + " | ".join([*names, *ALTERATIONS]) + " |")
    print("|---|---|" + "---|" * (len(names) + len(ALTERATIONS)))
    for number, (name, (_, thresholds)) in enumerate(HASHES.items()):
        pairs = [pair_counts(found[:, 0, number], of).cumsum(axis=1) for found, of in zip(sets, people, strict=True)]
        every = np.concatenate([found[:, :, number] for found in sets])
        distances = np.bitwise_count(every[:, :1] ^ every[:, 1:]).sum(axis=2, dtype=np.int64)
        for bits in thresholds:
            cells = [f"{count[0, bits]:,} ({count[1, bits]:,})" for count in pairs]
            shares = [f"{100 * share:.1f}" for share in (distances <= bits).mean(axis=0)]
            print(f"| {name} | {bits} | " + " | ".join([*cells, *shares]) + " |")


if __name__ == "__main__":
    main()
