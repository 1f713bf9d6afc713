"""Write faces of a conditional generator as a labelled set: a folder for each label, which `data=folder` reads."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from facelab.config.identity import config_hash
from facelab.data.image_list import IMAGES, read_image_list
from facelab.data.images import picture
from facelab.errors import ConfigError
from facelab.models.trained import Trained
from facelab.models.transfer import weights_digest
from facelab.synthetic.base import Plan
from facelab.synthetic.generated import conditional_faces

MANIFEST = "manifest.json"


def write_labelled(trained: Trained, run_folder: Path, out: Path, plan: Plan, settings: dict[str, Any]) -> None:
    """Write the faces of a plan, and a manifest with their lineage.

    The faces are those that a training gets with `synthetic.run`, at the same seed and truncation.

    Args:
        trained: the generator's run.
        run_folder: of that run.
        out: the new folder.
        plan: of the faces; its parents are numbers of the generator's labels.
        settings: `run`, `seed`, `psi` and `per_identity`, for the manifest.

    Raises:
        ConfigError: the name of a label is not that of a folder.
        OSError: the folder cannot be written.
    """
    names = trained.metadata.label_names
    _refuse_odd(names)
    files = [f"{names[label]}/{number:05d}.png" for label, number in zip(plan.labels, plan.numbers, strict=True)]
    images = conditional_faces(trained.module, plan, settings["seed"], settings["psi"])
    for file, image in zip(files, images, strict=True):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        picture(image).save(out / file)
    manifest = {
        **settings,
        "model": trained.config["model"]["_target_"],
        "config_hash": config_hash(trained.config),
        "weights_sha256": weights_digest(run_folder),
        "training_images_sha256": _training_images(run_folder),
        "images": [{"file": file, "label": names[label]} for file, label in zip(files, plan.labels, strict=True)],
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def labelled_plan(trained: Trained, per_identity: int, label: int | None) -> Plan:
    """The plan of as many faces of each label, or of one label."""
    labels = np.arange(trained.metadata.num_classes) if label is None else np.array([label])
    counts = np.zeros(trained.metadata.num_classes, dtype=np.int64)
    counts[labels] = per_identity
    return Plan.of(np.arange(len(counts))[:, None].repeat(2, axis=1), counts)


def _refuse_odd(names: tuple[str, ...]) -> None:
    """Raise if a name would lead out of the folder, or to a folder that data=folder ignores."""
    for name in names:
        parts = name.split("/")
        if any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in parts):
            raise ConfigError(f"the run has a label named '{name}', which cannot be the name of a folder.")


def _training_images(run_folder: Path) -> str | None:
    """SHA-256 over the sorted digests of the images that the generator was trained on; None without a list."""
    if not (run_folder / IMAGES).is_file():
        return None
    table = read_image_list(run_folder / IMAGES).table
    trained_on = table.filter(compute.equal(table["part"].cast(pa.string()), "train"))
    return hashlib.sha256(b"".join(sorted(trained_on["digest"].to_pylist()))).hexdigest()
