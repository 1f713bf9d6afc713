"""Near-duplicate images in two splits of a run: a note, a contact sheet, and the list."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelab.data.contact_sheet import MOST_ROWS, contact_sheet
from facelab.data.faces import FaceSet
from facelab.data.near import HASH_BYTES, NEAR_BITS, near_pairs
from facelab.data.splits.base import Splits
from facelab.system import counted

FILE = "near_duplicates"
_SHOWN = 3
_HEADER = ("image", "class", "part", "near", "near_class", "near_part", "bits")


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of near-duplicates in two splits.

    Args:
        note: a few sentences for the user.
        sheet: contact sheet (H, W, 3) uint8 of the nearest pairs.
        rows: of a CSV file, the header first.
    """

    note: str
    sheet: NDArray[np.uint8]
    rows: Sequence[Sequence[object]]


def find_near_duplicates(faces: FaceSet, splits: Splits) -> NearDuplicates | None:
    """Find pairs of images in two splits whose perceptual hashes nearly agree; None if there are none.

    Args:
        faces: the face set; without perceptual hashes, there are none.
        splits: train, val and test.
    """
    if faces.perceptual is None:
        return None
    pairs, bits = _across(faces.perceptual, splits)
    if not len(pairs):
        return None
    part = {int(index): name for name, indices in splits.items() for index in np.intersect1d(indices, pairs)}
    shown = [
        " and ".join(f"{faces.names[index]} ({part[index]})" for index in pair) for pair in pairs[:_SHOWN].tolist()
    ]
    note = (
        f"near-duplicates in two splits: the perceptual hashes of {counted(len(pairs), 'pair')} of images of "
        f"{faces.source} differ in at most {NEAR_BITS} of {8 * HASH_BYTES} bits. The nearest: {'; '.join(shown)}. If "
        "they are copies of one photo, the test is too easy: delete one of each pair."
    )

    def described(index: int) -> tuple[str, str, str]:
        return faces.names[index], faces.label_names[faces.labels[index]], part[index]

    rows = [
        (*described(one), *described(other), int(differing))
        for (one, other), differing in zip(pairs.tolist(), bits, strict=True)
    ]
    # Rows beyond those drawn are only counted, so their images need not be decoded.
    drawn = [
        [(faces.pixels[index], "\n".join(described(index))) for index in pair] for pair in pairs[:MOST_ROWS].tolist()
    ]
    return NearDuplicates(note, contact_sheet([*drawn, *[()] * (len(pairs) - len(drawn))]), [_HEADER, *rows])


def _across(hashes: NDArray[np.uint8], splits: Splits) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (M, 2) of images in two splits, the nearest first, and the number of bits (M,) in which each differs."""
    part = np.full(len(hashes), -1)
    for number, (_, indices) in enumerate(splits.items()):
        part[indices] = number
    used = np.flatnonzero(part >= 0)
    pairs = used[near_pairs(hashes[used])]
    pairs = pairs[part[pairs[:, 0]] != part[pairs[:, 1]]]
    bits = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]).sum(axis=1, dtype=np.int64)
    order = np.argsort(bits, kind="stable")
    return pairs[order], bits[order]
