"""Time every split rule on a million rows in 50,000 classes: python experiments/splits/measure.py."""

import time

import numpy as np

from facelab.data.columns import Column, Indices
from facelab.data.faces import FaceSet
from facelab.data.splits.base import Split, split
from facelab.data.splits.given import Official
from facelab.data.splits.group_rules import GroupKFold, IdentityDisjoint, LeaveOneGroupOut
from facelab.data.splits.rules import FewShot, KFold, Ratio

ROWS, CLASSES = 1_000_000, 50_000


def column(codes: Indices) -> Column:
    """A column of these values."""
    return Column(codes, [str(code) for code in range(int(codes.max()) + 1)])


def main() -> None:
    """Print the seconds of processor time of each rule, with all its checks."""
    random = np.random.default_rng(0)
    people = random.permutation(np.arange(ROWS) % CLASSES)
    part = Column((people // 25_000).astype(np.int64), ["train", "test"])
    columns = {"class": column(random.integers(0, CLASSES, ROWS)), "expression": column(random.integers(0, 7, ROWS))}
    names, digests = [f"{i}.jpg" for i in range(ROWS)], [f"{i:064x}" for i in range(ROWS)]
    pixels = np.zeros((1, 8, 8, 1), np.uint8)
    cases: dict[str, list[Split]] = {
        "identity": [Ratio(), KFold(), FewShot(), IdentityDisjoint(25_000, 5_000, 0), GroupKFold(), LeaveOneGroupOut()],
        "class": [Ratio(few="drop"), KFold(few="drop"), FewShot(1, few="drop")],
        "expression": [Ratio(), KFold(), FewShot()],
        "part": [Official()],
    }
    for label, rules in cases.items():
        held = {"identity": column(people), **columns, **({"part": part} if label == "part" else {})}
        for rule in rules:
            faces = FaceSet("made", "made", pixels, names, digests, held, "identity" if label == "part" else label)
            began = time.process_time()
            split(faces, rule)
            print(f"{label:10} {type(rule).__name__:18} {time.process_time() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
