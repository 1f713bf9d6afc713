"""The check of protocols that meet the test people for the first time."""

import numpy as np

from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.splits.base import Splits
from facelab.data.splits.people import require_known
from facelab.errors import ConfigError


def require_unseen(splits: Splits, faces: FaceSet, protocol: str) -> None:
    """Check that all test people are known, and that none of them is in training or validation.

    Args:
        splits: train, val and test.
        faces: the face set.
        protocol: as it is chosen, such as `protocol=identification`.

    Raises:
        ConfigError: test people are also in training or validation.
        DataError: test images have no identity.
    """
    require_known(faces, IDENTITY, splits.test, protocol)
    tested = faces.identities[splits.test]
    shared = np.intersect1d(tested, faces.identities[np.concatenate([splits.train, splits.val])])
    if len(shared):
        thresholds = len(np.intersect1d(tested, faces.identities[splits.val]))
        chosen = f" ({thresholds:,} of them in validation, where thresholds are chosen)" if thresholds else ""
        raise ConfigError(
            f"{protocol} expects test people unseen in training and validation, but {len(shared):,} of "
            f"{len(np.unique(tested)):,} are in one of them{chosen}. Set split=identity_disjoint or split=group_kfold, "
            "or set protocol=classification for people seen in training."
        )
