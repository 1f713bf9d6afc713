"""Near-duplicates in two splits of a run: told, drawn and listed."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mlflow.entities import Run
from PIL import Image

from facelab.data.faces import FaceSet
from facelab.data.near import NEAR_BITS, perceptual_hash
from facelab.data.sources.folder import Folder
from facelab.data.splits.base import split
from facelab.data.splits.rules import KFold
from facelab.runs.near_duplicates import find_near_duplicates
from tests.conftest import TINY_CNN, Command
from tests.data.made import make_folder

SIZE = [override for override in TINY_CNN if not override.startswith("data.last_person")]


def test_hashes_are_read_with_the_images(tmp_path: Path) -> None:
    faces = Folder(str(make_folder(tmp_path / "faces"))).load()
    assert faces.perceptual is not None
    assert np.array_equal(faces.perceptual, [perceptual_hash(faces.pixels[index]) for index in range(len(faces))])
    some = faces.only(np.array([3, 7]))
    assert some.perceptual is not None
    assert np.array_equal(some.perceptual, faces.perceptual[[3, 7]])


def test_pairs_of_one_split_are_none_and_the_nearest_is_first(orl: FaceSet) -> None:
    splits = split(orl, KFold())
    hashes = np.random.default_rng(0).integers(0, 256, (400, 32), dtype=np.uint8)  # about 128 bits apart
    faces = dataclasses.replace(orl, perceptual=hashes)
    assert find_near_duplicates(faces, splits) is None
    assert find_near_duplicates(dataclasses.replace(orl, perceptual=None), splits) is None
    train, val, test = splits.train.tolist(), splits.val.tolist(), splits.test.tolist()
    hashes[train[1]] = hashes[train[0]]  # in one split
    hashes[test[0]] = hashes[train[2]] ^ np.uint8(1) * (np.arange(32) < NEAR_BITS)
    hashes[test[1]] = hashes[val[0]] ^ np.uint8(1) * (np.arange(32) < 3)
    hashes[test[2]] = hashes[train[3]] ^ np.uint8(1) * (np.arange(32) < NEAR_BITS + 1)
    found = find_near_duplicates(faces, splits)
    assert found is not None
    assert "2 pairs" in found.note
    assert [row[-1] for row in found.rows[1:]] == [3, NEAR_BITS]
    assert {found.rows[1][0], found.rows[1][3]} == {orl.names[val[0]], orl.names[test[1]]}
    assert {found.rows[2][2], found.rows[2][5]} == {"train", "test"}
    assert found.sheet.ndim == 3


def test_a_run_tells_and_records_them(
    facelab: Command, tmp_path: Path, experiment: tuple[str, str], runs: Callable[[], list[Run]]
) -> None:
    root = make_folder(tmp_path / "faces", people=3, pictures=6)
    for person in range(3):  # saved again with loss: other pixels, the same photo
        image = Image.open(root / f"person{person}" / "0.png").convert("L")
        for copy in range(3):
            image.save(root / f"person{person}" / f"copy{copy}.jpg", quality=70 + 10 * copy)
    outcome = facelab("train", "data=folder", f"data.root={root}", *SIZE, *experiment)
    assert outcome.status == 0, outcome.error
    assert "near-duplicates in two splits" in outcome.error
    (run,) = runs()
    folder = tmp_path / "runs" / run.info.run_id
    assert str(folder / "near_duplicates.png") in outcome.error
    with (folder / "near_duplicates.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} pairs" in outcome.error
    assert all(row["part"] != row["near_part"] and row["class"] == row["near_class"] for row in rows)
    assert all("copy" in row["image"] or "copy" in row["near"] for row in rows)
