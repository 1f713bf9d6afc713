"""Split rules that leave out people: nobody is in two splits, so a classifier of people cannot be tested with them."""

from typing import Annotated

import numpy as np
from pydantic import Field
from sklearn import model_selection

from facelab.data.columns import Indices
from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.splits.base import Split, Splits
from facelab.data.splits.copies import Duplicates
from facelab.data.splits.people import require_known
from facelab.data.splits.rules import Seed, check_fold
from facelab.errors import DataError

_NONE = np.empty(0, dtype=np.int64)


class IdentityDisjoint(Split):
    """Split by people: some are for training, some for validation, and all others for testing.

    On AT&T with `train_people=20`: s1 to s20 train, s21 to s40 test.

    Args:
        train_people: number of people for training.
        val_people: number of people for validation. A classifier of people has no validation loss on them: select the
            weights by a protocol, such as `val/verification/auc`.
        seed: of the random order of people; None takes them in their order, training first, then validation.
        duplicates: handling of equal images: `error`, or `drop` all but the first.
    """

    def __init__(
        self,
        train_people: Annotated[int, Field(ge=2)] = 20,
        val_people: Annotated[int, Field(ge=0)] = 0,
        seed: Seed | None = None,
        duplicates: Duplicates = "error",
    ) -> None:
        self.train_people, self.val_people, self.seed, self.duplicates = train_people, val_people, seed, duplicates

    @property
    def title(self) -> str:
        """`20 people`, `20+5 people · split=0`."""
        validated = f"+{self.val_people}" if self.val_people else ""
        return f"{self.train_people}{validated} people" + ("" if self.seed is None else f" · split={self.seed}")

    @property
    def has_validation(self) -> bool:
        """Whether there are people for validation."""
        return self.val_people > 0

    def disjoint_column(self, faces: FaceSet) -> str:
        """The identity."""
        return IDENTITY

    def divide(self, faces: FaceSet) -> Splits:
        """Split by people."""
        require_known(faces, IDENTITY, np.arange(len(faces)), "split=identity_disjoint")
        people, person = np.unique(faces.identities, return_inverse=True)
        held = self.train_people + self.val_people
        if len(people) < held + 2:
            keys = f"split.train_people={self.train_people}"
            keys += f" split.val_people={self.val_people}" if self.val_people else ""
            raise DataError(
                f"{keys}: {faces.source} holds {len(people)} people. At least two must remain for testing: at most "
                f"{len(people) - 2} can be used otherwise. Lower it, or add people."
            )
        place = np.arange(len(people))
        if self.seed is not None:
            place = np.random.default_rng(self.seed).permutation(place)
        # 0 for people of training, 1 for validation, 2 for the test.
        part = np.searchsorted([self.train_people, held], place[person], side="right")
        train, val, test = (np.flatnonzero(part == number) for number in range(3))
        return Splits(train, val, test)


class GroupKFold(Split):
    """K-fold cross-validation over people: each fold tests on other people than it trains on.

    People (the values of `data.group`) are shuffled and cut into `folds` parts of equal numbers of people, whatever
    their labels and numbers of images. Part `fold` is the test split, the next part (cyclically) is validation, the
    others are training. Over all folds every image is tested exactly once.

    Source: scikit-learn's `GroupKFold(folds, shuffle=True, random_state=seed)`.

    Args:
        folds: number of parts.
        fold: the part that is the test split, from 0.
        seed: of the shuffle, the same for all folds; independent of the training seed.
        duplicates: handling of equal images: `error`, or `drop` all but the first.
    """

    def __init__(
        self,
        folds: Annotated[int, Field(ge=3)] = 5,
        fold: Annotated[int, Field(ge=0)] = 0,
        seed: Seed = 0,
        duplicates: Duplicates = "error",
    ) -> None:
        check_fold(folds, fold)
        self.folds, self.fold, self.seed, self.duplicates = folds, fold, seed, duplicates

    @property
    def title(self) -> str:
        """`fold=0/5 · split=0`."""
        return f"fold={self.fold}/{self.folds} · split={self.seed}"

    @property
    def has_validation(self) -> bool:
        """Always True."""
        return True

    def disjoint_column(self, faces: FaceSet) -> str:
        """The group."""
        return faces.group

    def divide(self, faces: FaceSet) -> Splits:
        """Split by people."""
        require_known(faces, faces.group, np.arange(len(faces)), "split=group_kfold")
        people = len(np.unique(faces.groups))
        if people < self.folds:
            raise DataError(
                f"split.folds={self.folds}: {faces.source} holds {people} different values of '{faces.group}', and "
                f"each fold needs one. Lower split.folds to {people} or less, or add people."
            )
        rule = model_selection.GroupKFold(self.folds, shuffle=True, random_state=self.seed)
        held_out = [test for _, test in rule.split(faces.groups, groups=faces.groups)]
        test, val = held_out[self.fold], held_out[(self.fold + 1) % self.folds]
        return Splits(_others(len(faces), test, val), val, test)


class LeaveOneGroupOut(Split):
    """Tests on one person and trains on all others; no validation, so training keeps the last weights.

    One run tests one person (one value of `data.group`); `-m 'split.group=range(15)'` tests each of 15.

    Args:
        group: number of the person, from 0, in the order in which the data set lists them.
        duplicates: handling of equal images: `error`, or `drop` all but the first.
    """

    def __init__(self, group: Annotated[int, Field(ge=0)] = 0, duplicates: Duplicates = "error") -> None:
        self.group, self.duplicates = group, duplicates

    @property
    def title(self) -> str:
        """`group=3`."""
        return f"group={self.group}"

    @property
    def has_validation(self) -> bool:
        """Always False."""
        return False

    def disjoint_column(self, faces: FaceSet) -> str:
        """The group."""
        return faces.group

    def divide(self, faces: FaceSet) -> Splits:
        """Split by people; the note names the one that is tested."""
        require_known(faces, faces.group, np.arange(len(faces)), "split=leave_one_group_out")
        names = faces.columns[faces.group].names
        if self.group >= len(names):
            raise DataError(
                f"split.group={self.group}: {faces.source} has {len(names)} different values of '{faces.group}'; "
                f"expected a number from 0 to {len(names) - 1}. For all of them: -m 'split.group=range({len(names)})'."
            )
        if len(names) < 2:
            raise DataError(
                f"split=leave_one_group_out: all images of {faces.source} have the {faces.group} '{names[0]}', so "
                "nothing would be left for training. Add others, or set data.group to another column."
            )
        test = np.flatnonzero(faces.groups == self.group)
        said = f"split.group={self.group}: tested on {faces.group} '{names[self.group]}', of {len(names)}."
        return Splits(_others(len(faces), test), _NONE, test, (said,))


def _others(count: int, *parts: Indices) -> Indices:
    """Indices below `count` that are in no part."""
    return np.setdiff1d(np.arange(count), np.concatenate(parts), assume_unique=True)
