"""Contact sheets: sizes, captions, and where the images lie."""

import numpy as np
import pytest
from numpy.typing import NDArray

from facelab.data.contact_sheet import MOST_ROWS, contact_sheet

RED = np.full((30, 30, 3), (255, 0, 0), dtype=np.uint8)
GREY = np.full((20, 40, 1), 90, dtype=np.uint8)


def _share(sheet: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((sheet == colour).all(axis=2).sum())


def test_images_lie_side_by_side_and_keep_their_aspect_ratio() -> None:
    sheet = contact_sheet([[(RED, "one"), (GREY, "two")], [(RED, "three")]], side=100)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 2 * 100 + 3 * 10
    assert _share(sheet, (255, 0, 0)) == 2 * 100 * 100
    assert _share(sheet, (90, 90, 90)) == 100 * 50
    columns = np.flatnonzero((sheet == (90, 90, 90)).all(axis=2).any(axis=0))
    assert columns.tolist() == list(range(120, 220))


def test_captions_are_drawn_under_their_image() -> None:
    with_text = contact_sheet([[(RED, ""), (RED, "a name")]], side=100).astype(int)
    without = contact_sheet([[(RED, ""), (RED, "")]], side=100).astype(int)
    assert with_text.shape == without.shape
    rows, columns, _ = np.nonzero(with_text != without)
    assert rows.min() > 110
    assert columns.min() >= 120


def test_a_long_name_keeps_its_start_and_its_end() -> None:
    """Two names of 200 characters are told apart by either, and take three lines."""
    names = ["a" + "x" * 198 + "1", "a" + "x" * 198 + "2", "b" + "x" * 198 + "1"]
    sheets = [contact_sheet([[(RED, name)]], side=150) for name in names]
    assert {sheet.shape for sheet in sheets} == {(150 + 3 * 17 + 3 * 10, 170, 3)}
    assert not np.array_equal(sheets[0], sheets[1])
    assert not np.array_equal(sheets[0], sheets[2])
    assert np.array_equal(sheets[0], contact_sheet([[(RED, names[0].replace("x" * 198, "x" * 180))]], side=150))


@pytest.mark.parametrize(
    "name", ["张伟_0001.jpg", "محمد.png", "tab\t\x07.png", "Ελλάδα\nval", "\ud800", "e\u0301", "😀" * 150]
)
def test_any_name_can_be_drawn(name: str) -> None:
    blank = contact_sheet([[(RED, "")]], side=120)
    assert not np.array_equal(contact_sheet([[(RED, name)]], side=120)[: len(blank)], blank)


def test_names_in_characters_the_font_lacks_stay_apart() -> None:
    one, other = (contact_sheet([[(RED, name)]], side=120) for name in ("张", "李"))
    assert not np.array_equal(one, other)


def test_rows_beyond_the_most_are_counted() -> None:
    row = [(RED, "a"), (RED, "b")]
    full, more = contact_sheet([row] * MOST_ROWS, side=40), contact_sheet([row] * (MOST_ROWS + 7), side=40)
    assert len(more) == len(full) + 17
    assert (more[len(full) :] < 128).any()
