"""Print how long comparing takes after the embedding: python experiments/lfw_view2/time_pairs.py LFW pairs.txt"""

import sys
import time
from collections.abc import Callable
from typing import cast

import numpy as np

from facelab.data import LFW, Splits
from facelab.data.pair_list import read_pair_list
from facelab.models import FaceModule
from facelab.protocols import Outputs, Subject, Verification

REPEATS = 5


def seconds(call: Callable[[], object]) -> float:
    """Median duration."""
    found = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return float(np.median(found))


def main() -> None:
    """Compare random embeddings, by cosine: the durations do not depend on their values."""
    root, pairs = sys.argv[1:3]
    faces = LFW(root=root, image_size=64, channels=1).load()
    listed = read_pair_list(pairs, faces, "pairs")
    images = np.unique(np.concatenate([listed.first, listed.second]))
    vectors = np.random.default_rng(0).standard_normal((len(images), 256)).astype(np.float32)
    none = np.array([], np.int64)
    test = Outputs(vectors, None, faces.labels[images], faces.identities[images], images)
    splits = Splits(train=none, val=none, test=images)
    subject = Subject(faces, splits, Outputs(vectors[:0], None, none, none, none), test, cast(FaceModule, None), 0)
    protocol = Verification(pairs)
    print(f"{len(listed):,} pairs: figures {seconds(lambda: protocol.measure(subject)):.2f} s", end="")
    print(f", with intervals and pictures {seconds(lambda: protocol.evaluate(subject)):.2f} s")


if __name__ == "__main__":
    main()
