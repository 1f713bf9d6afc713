"""Evaluate outputs that a test made, as if a model had given them."""

import numpy as np

from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits
from facelab.protocols import Outputs, Protocol, Report, Subject
from tests.models.tiny import tiny_cnn


def evaluate(protocol: Protocol, train: Outputs, test: Outputs, faces: FaceSet, val: Outputs | None = None) -> Report:
    """The protocol's report on outputs; the model itself is untrained and not asked."""
    splits = Splits(train.indices, np.empty(0, np.int64) if val is None else val.indices, test.indices)
    return protocol.evaluate(Subject(faces, splits, train, test, tiny_cnn(), seed=0, val=val))
