"""The duplicates of the Yale faces, where these are present: FACELAB_TEST_DATA is a folder that holds `yale`."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from facelab.data.columns import Column
from facelab.data.faces import FaceSet
from facelab.data.sources.folder import Folder
from facelab.data.splits.base import prepare, split
from facelab.data.splits.copies import first_copies
from facelab.data.splits.group_rules import LeaveOneGroupOut
from facelab.data.splits.rules import Ratio
from facelab.errors import DataError

YALE = Path(os.environ.get("FACELAB_TEST_DATA", "")) / "yale"
EXPRESSIONS = ("happy", "sad", "sleepy", "surprised", "wink", "normal")

pytestmark = pytest.mark.skipif(
    not ("FACELAB_TEST_DATA" in os.environ and YALE.is_dir()), reason="FACELAB_TEST_DATA holds no Yale faces"
)


@pytest.fixture(scope="module")
def yale() -> FaceSet:
    """All pictures, labelled by condition."""
    faces = Folder(str(YALE), channels=1).load()
    conditions = [name.split(".")[-2] for name in faces.names]
    return dataclasses.replace(
        faces, columns={**faces.columns, "expression": Column.of(conditions)}, label="expression"
    )


def _showing(faces: FaceSet, *conditions: str) -> FaceSet:
    return faces.only(np.flatnonzero(np.isin(faces.columns["expression"].texts, conditions)))


def test_nine_pictures_are_another_of_the_same_person(yale: FaceSet) -> None:
    first = first_copies(yale, np.arange(len(yale)))
    copies = np.flatnonzero(first != np.arange(len(yale))).tolist()
    assert len(copies) == 9
    assert np.array_equal(yale.identities[copies], yale.identities[first[copies]])
    with pytest.raises(DataError, match=r"9 images of .* equal an image with another label") as caught:
        split(yale, LeaveOneGroupOut())
    for copy in copies:
        assert f"{yale.names[copy]} (" in str(caught.value)
        assert f"{yale.names[int(first[copy])]} (" in str(caught.value)


def test_one_of_them_is_among_the_six_expressions(yale: FaceSet) -> None:
    with pytest.raises(DataError, match=r"1 images of .* equal an image with another label") as caught:
        split(_showing(yale, *EXPRESSIONS), LeaveOneGroupOut())
    assert "subject04.normal.png" in str(caught.value)
    assert "subject04.sad.png" in str(caught.value)


def test_nobody_is_in_two_parts_of_the_six_expressions(yale: FaceSet) -> None:
    faces = _showing(yale, *EXPRESSIONS)
    left, splits = prepare(faces, Ratio(duplicates="drop"))
    people = [set(left.identities[indices]) for _, indices in splits.items()]
    assert [len(some) for some in people] == [9, 3, 3]
    assert not people[0] & people[1]
    assert not people[2] & (people[0] | people[1])
