"""A run as a store has it after training, without the training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from facelab.config.build import build
from facelab.data.image_list import ImageList
from facelab.data.splits.base import prepare
from facelab.models.trained import ModelMetadata, save
from facelab.models.transfer import weights_digest
from facelab.tracking import Store, TrackedRun
from tests.models.tiny import tiny_cnn

MODEL = {"_target_": "tests.models.tiny.tiny_cnn", "_partial_": True}  # FACELAB_ALLOW=tests


ORL_OF_TWO = {"_target_": "facelab.data.ORL", "image_size": 16, "channels": 1, "last_person": 2}
FIVE_EACH = {"_target_": "facelab.data.FewShot", "train_per_identity": 5}


def recorded_run(
    store: Store,
    runs_folder: Path,
    tags: Mapping[str, str] | None = None,
    data: Mapping[str, Any] = ORL_OF_TWO,
    split: Mapping[str, Any] = FIVE_EACH,
) -> TrackedRun:
    """Record a finished run of a small recogniser of two people, with its files; nothing is trained."""
    run = TrackedRun.create(store, "cnn", {"model": "cnn"}, runs_folder, tags)
    built = build({"data": dict(data), "split": dict(split)})
    faces, splits = prepare(built["data"].load(), built["split"])
    config = {"model": MODEL, "data": dict(data), "split": dict(split)}
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    save(tiny_cnn(), ModelMetadata((1, 16, 16), 2, ("s1", "s2")), run.folder)
    ImageList.of(built["data"], faces, splits).write(run.folder / "images.parquet")
    run.tag("model.sha256", weights_digest(run.folder))
    for name in ("config.yaml", "model.safetensors", "images.parquet"):
        run.file(name)
    run.status("FINISHED")
    assert run.settle()
    return run
