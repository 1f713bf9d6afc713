"""Split rules without a draw among images: the split a data set comes with, and none, which tests everything."""

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facelab.data.columns import Indices
from facelab.data.faces import PART, FaceSet
from facelab.data.splits.base import Split, Splits
from facelab.data.splits.copies import Duplicates
from facelab.data.splits.rules import Seed
from facelab.errors import DataError


class Official(Split):
    """The split a data set comes with: `root/train`, `root/test` and optionally `root/val` of `data=folder`.

    Without a val part, `val` sets one apart; otherwise training keeps the last weights. The test split may contain
    people without training images, for open-set protocols such as verification.

    Args:
        val: share of the training people (values of `data.group`) that become the validation part if the set comes
            without one, in [0, 1); they are drawn by `seed`, with all their images.
        seed: of that draw; independent of the training seed.
        duplicates: handling of equal images: `error`, or `drop` all but one. The test image is kept, so that results
            are comparable with published ones, and its copies in val and train are dropped.
    """

    takes_parts: ClassVar[bool] = True

    def __init__(
        self, val: Annotated[float, Field(ge=0, lt=1)] = 0.0, seed: Seed = 0, duplicates: Duplicates = "error"
    ) -> None:
        self.val, self.seed, self.duplicates = val, seed, duplicates

    @property
    def title(self) -> str:
        """`official`, `official · val=0.1 · split=0`."""
        return "official" + (f" · val={self.val} · split={self.seed}" if self.val else "")

    @property
    def has_validation(self) -> bool:
        """Always True, since the answer is unknown before the set is read."""
        return True

    def copies_order(self, faces: FaceSet) -> Indices:
        """Test images first, then val, then train, then those of no part."""
        part = _parts_of(faces)
        order = np.select([part == "test", part == "val", part == "train"], [0, 1, 2], default=3)
        return np.argsort(order, kind="stable")

    def divide(self, faces: FaceSet) -> Splits:
        """Split by the column `part`."""
        part = _parts_of(faces)
        train, val, test = (np.flatnonzero(part == name) for name in ("train", "val", "test"))
        missing = [name for name, indices in (("train", train), ("test", test)) if len(indices) == 0]
        if missing:
            raise DataError(
                f"split=official: {faces.source} has no images for {' and '.join(missing)}, only for "
                f"{', '.join(faces.columns[PART].names)}. Expected folders train and test. Rename one, or set "
                "data.root to one of them and type split=ratio, which splits it at random."
            )
        if self.val:
            train, val = self._set_apart(faces, train, val)
        seen = np.isin(faces.labels[val], faces.labels[train])
        if seen.any() and not seen.all():
            unseen = np.unique(faces.labels[val[~seen]])
            raise DataError(
                f"split=official: {len(unseen):,} classes of the val split of {faces.source} have no training image, "
                f"such as '{faces.label_names[unseen[0]]}', but others have. A classifier cannot predict them. Add "
                "training images, or move these images to test and type protocol=verification."
            )
        return Splits(train, val, test)

    def _set_apart(self, faces: FaceSet, train: Indices, val: Indices) -> tuple[Indices, Indices]:
        """Training images, and those of a share of the training people."""
        if len(val):
            raise DataError(
                f"split.val={self.val}: {faces.source} comes with {len(val):,} validation images. Set split.val=0."
            )
        people = np.unique(faces.groups[train])
        count = round(self.val * len(people))
        if not 0 < count < len(people) - 1:
            raise DataError(
                f"split.val={self.val}: {count} of {len(people)} training people would validate. At least one must, "
                "and two must remain. Change it, or add people."
            )
        drawn = np.random.default_rng(self.seed).choice(people, count, replace=False)
        apart = np.isin(faces.groups[train], drawn)
        return train[~apart], train[apart]


class AllTest(Split):
    """Every image is tested and none is for training: for `facelab evaluate` on another set.

    The parts that a set comes with are not used.

    Args:
        duplicates: handling of equal images: `error` if they are under two labels, or `drop` all but the first.
    """

    takes_parts: ClassVar[bool] = True

    def __init__(self, duplicates: Duplicates = "error") -> None:
        self.duplicates = duplicates

    @property
    def title(self) -> str:
        """`all`."""
        return "all"

    @property
    def has_validation(self) -> bool:
        """Always False."""
        return False

    def divide(self, faces: FaceSet) -> Splits:
        """Put all images into the test split."""
        none = np.arange(0)
        return Splits(none, none, np.arange(len(faces)))


def _parts_of(faces: FaceSet) -> NDArray[np.object_]:
    if PART not in faces.columns:
        raise DataError(
            f"split=official: {faces.source} comes without a split. Expected data=folder and a data.root with folders "
            "train, test and optionally val, each with one folder per person. Or type split=ratio, which splits it at "
            "random."
        )
    return faces.columns[PART].texts
