"""Columns of a face set: one text per image, stored as numbers and the list of distinct texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """A text per image, such as its identity or expression.

    Args:
        codes: (N,) int64, index into `names`; -1 if the image has no value.
        names: the distinct values.
    """

    codes: Indices
    names: Sequence[str]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Column":
        """Number N texts by first appearance; an empty text means that the image has no value."""
        # An object array, since fixed-width text takes four bytes per character of the longest one.
        values = np.array([text or None for text in texts], dtype=object)
        codes, names = pd.factorize(values)
        return cls(codes.astype(np.int64), [str(name) for name in names])

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def texts(self) -> NDArray[np.object_]:
        """(N,) the texts; empty for images without a value."""
        return np.array([*self.names, ""], dtype=object)[self.codes]

    def only(self, indices: Indices) -> "Column":
        """The values of some images, without names that no longer occur; the order of the names is kept."""
        present, codes = np.unique(self.codes[indices], return_inverse=True)
        missing = int(present[:1].sum() == -1) if len(present) else 0
        return Column(codes.astype(np.int64) - missing, [self.names[code] for code in present if code >= 0])

    def with_first(self, first: Indices) -> "Column":
        """The same values, with the names of the codes `first` moved to the front."""
        order = np.concatenate([first, np.setdiff1d(np.arange(len(self.names)), first)])
        place = np.append(np.argsort(order), -1)
        return Column(place[self.codes], [self.names[code] for code in order])
