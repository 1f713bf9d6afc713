"""Names of the parts of a set that comes with a split: train, val and test."""

from collections.abc import Mapping, Sequence

from facelab.data.faces import PART
from facelab.errors import DataError

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def with_parts(columns: Mapping[str, Sequence[str]], where: str) -> dict[str, Sequence[str]]:
    """The columns, with the values of a column `part` written `train`, `val` and `test`.

    Args:
        columns: texts by name.
        where: of the columns, for messages.

    Raises:
        DataError: a value is not a part's name; names it.
    """
    found = dict(columns)
    if PART in found:
        unknown = sorted({text for text in found[PART] if text and text.lower() not in PARTS})
        if unknown:
            raise DataError(
                f"{where}: the column {PART} holds '{unknown[0]}'. Expected {', '.join(PARTS)}. Correct it, or rename "
                "the column if it is not the split that the set comes with."
            )
        found[PART] = [PARTS.get(text.lower(), "") for text in found[PART]]
    return found
