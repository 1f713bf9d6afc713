"""A run as a store has it after training, without the training."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from facelab.data import ORL
from facelab.data.image_list import ImageList
from facelab.data.splits.base import prepare
from facelab.data.splits.rules import FewShot
from facelab.models.trained import ModelMetadata, save
from facelab.models.transfer import weights_digest
from facelab.tracking import Store, TrackedRun
from tests.models.tiny import tiny_cnn

MODEL = {"_target_": "tests.models.tiny.tiny_cnn", "_partial_": True}  # FACELAB_ALLOW=tests


def recorded_run(store: Store, runs_folder: Path, tags: Mapping[str, str] | None = None) -> TrackedRun:
    """Record a finished run of a small recogniser of two people, with its files; nothing is trained."""
    run = TrackedRun.create(store, "cnn", {"model": "cnn"}, runs_folder, tags)
    source = ORL(image_size=16, last_person=2)
    faces, splits = prepare(source.load(), FewShot(train_per_identity=5))
    (run.folder / "config.yaml").write_text(yaml.safe_dump({"model": MODEL}), encoding="utf-8")
    save(tiny_cnn(), ModelMetadata((1, 16, 16), 2, ("s1", "s2")), run.folder)
    ImageList.of(source, faces, splits).write(run.folder / "images.parquet")
    run.tag("model.sha256", weights_digest(run.folder))
    for name in ("config.yaml", "model.safetensors", "images.parquet"):
        run.file(name)
    run.status("FINISHED")
    assert run.settle()
    return run
