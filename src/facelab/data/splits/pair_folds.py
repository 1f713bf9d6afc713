"""Cross-validation over the folds of a list of pairs, such as LFW's View 2."""

from typing import Annotated

import numpy as np
from pydantic import Field

from facelab.data.columns import Indices
from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.pair_list import PairList, read_pair_list
from facelab.data.splits.base import Split, Splits
from facelab.data.splits.copies import Duplicates
from facelab.data.splits.people import require_known
from facelab.errors import DataError


class PairFolds(Split):
    """Test on the images of one fold of a list of pairs, validate on the next fold (cyclically), train on the others.

    For LFW's View 2 (`pairs.txt`, ten folds that share no people) these are the restricted training sets: only images
    that the pairs of the other folds name are used. Since their identities serve as labels, results belong to the
    setting "unrestricted, no outside data" (Huang and Learned-Miller, "Labeled Faces in the Wild: Updates and New
    Reporting Procedures", 2014). The next fold is not trained on: a threshold chosen on training images would be too
    high.

    Args:
        pairs: path of the list: of LFW's form, or a table with a column `fold`.
        fold: the fold that is tested, from 0.
        duplicates: handling of equal images: `error`, or `drop` all but one. The test image is kept.
    """

    def __init__(self, pairs: str, fold: Annotated[int, Field(ge=0)] = 0, duplicates: Duplicates = "error") -> None:
        self.pairs, self.fold, self.duplicates = pairs, fold, duplicates

    @property
    def title(self) -> str:
        """`fold=3`."""
        return f"fold={self.fold}"

    @property
    def has_validation(self) -> bool:
        """Always True."""
        return True

    def disjoint_column(self, faces: FaceSet) -> str:
        """The identity."""
        return IDENTITY

    def copies_order(self, faces: FaceSet) -> Indices:
        """Images of the tested fold first, since a pair must not lose an image."""
        pairs = self._read(faces)
        tested = np.isin(np.arange(len(faces)), _images(pairs.only(pairs.fold == self.fold)))
        return np.argsort(~tested, kind="stable")

    def divide(self, faces: FaceSet) -> Splits:
        """Split by the folds of the list."""
        require_known(faces, IDENTITY, np.arange(len(faces)), "split=pair_folds")
        pairs = self._read(faces)
        folds = self._folds(pairs)
        val_fold = (self.fold + 1) % folds
        test, val = (_images(pairs.only(pairs.fold == fold)) for fold in (self.fold, val_fold))
        train = _images(pairs.only((pairs.fold != self.fold) & (pairs.fold != val_fold)))
        self._refuse_shared(faces, self.fold, test, np.concatenate([val, train]))
        self._refuse_shared(faces, val_fold, val, train)
        said = f"split.pairs={self.pairs}: fold {self.fold} of {folds} is tested, fold {val_fold} validates."
        unnamed = len(faces) - len(train) - len(val) - len(test)
        if unnamed:
            said += f" {unnamed:,} of {len(faces):,} images are in none of its pairs and are left out."
        return Splits(train, val, test, (said,))

    def _folds(self, pairs: PairList) -> int:
        """Number of folds of the list, each of which has pairs."""
        found = np.unique(pairs.fold)
        folds = int(found[-1]) + 1 if len(found) else 0
        if folds < 3:
            raise DataError(
                f"split.pairs={self.pairs} has {folds} fold{'' if folds == 1 else 's'}; expected at least three (test, "
                "validation, training), such as the ten of LFW's pairs.txt."
            )
        if self.fold >= folds:
            raise DataError(f"split.fold={self.fold}: {self.pairs} has {folds} folds; expected 0 to {folds - 1}.")
        if len(found) < folds:
            empty = next(fold for fold, there in enumerate(found) if fold != there)
            raise DataError(
                f"split.pairs={self.pairs}: fold {empty} has no pairs of images that are there. Folds count from 0 "
                f"and follow each other; the largest is {folds - 1}. Correct the column 'fold', or add the images."
            )
        return folds

    def _refuse_shared(self, faces: FaceSet, fold: int, its: Indices, others: Indices) -> None:
        shared = np.intersect1d(faces.identities[its], faces.identities[others])
        if len(shared):
            names = faces.columns[IDENTITY].names
            raise DataError(
                f"split.pairs={self.pairs}: {len(shared)} people of fold {fold} are in other folds too, such as "
                f"'{names[shared[0]]}'. Expected folds that share no people."
            )

    def _read(self, faces: FaceSet) -> PairList:
        return read_pair_list(self.pairs, faces, "split.pairs")


def _images(pairs: PairList) -> Indices:
    return np.unique(np.concatenate([pairs.first, pairs.second]))
