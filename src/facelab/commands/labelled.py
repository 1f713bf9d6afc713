"""Write faces of a conditional generator as a labelled set: a folder for each label, which `data=folder` reads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facelab.config.identity import config_hash
from facelab.data.images import picture
from facelab.errors import ConfigError
from facelab.models.trained import Trained
from facelab.models.transfer import weights_digest
from facelab.runs.origins import MANIFEST, training_images_sha256
from facelab.synthetic.base import Plan
from facelab.synthetic.generated import conditional_faces

_PORTION = 1 << 12  # faces made at once: a multiple of a batch, so that batches are those of one call


def write_labelled(trained: Trained, run_folder: Path, out: Path, plan: Plan, settings: dict[str, Any]) -> None:
    """Write the faces of a plan, and a manifest with their lineage.

    The faces are those that a training gets with `synthetic.run`, at the same seed and truncation and without a
    selection, if its labels have the same numbers as the generator's: each face's latent depends on the number.

    Args:
        trained: the generator's run.
        run_folder: of that run.
        out: the new folder.
        plan: of the faces; its parents are numbers of the generator's labels.
        settings: `seed`, `psi` and `per_identity`, for the manifest.

    Raises:
        ConfigError: the name of a label is not that of a folder.
        OSError: the folder cannot be written.
    """
    names = trained.metadata.label_names
    _refuse_odd(names)
    files = [f"{names[label]}/{number:05d}.png" for label, number in zip(plan.labels, plan.numbers, strict=True)]
    for start in range(0, len(plan), _PORTION):
        portion = plan.part(start, min(start + _PORTION, len(plan)))
        images = conditional_faces(trained.module, portion, settings["seed"], settings["psi"])
        for file, image in zip(files[start : start + _PORTION], images, strict=True):
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            picture(image).save(out / file)
    rows = [{"file": file, "label": names[label]} for file, label in zip(files, plan.labels, strict=True)]
    write_manifest(trained, run_folder, out, settings, rows)


def write_manifest(
    trained: Trained, run_folder: Path, out: Path, settings: Mapping[str, Any], images: Sequence[Mapping[str, Any]]
) -> None:
    """Write the manifest of generated images: their lineage, by which a training on them knows what they show.

    Args:
        trained: the generator's run.
        run_folder: of that run.
        out: folder of the images.
        settings: `seed`, `psi` and further ones.
        images: a row for each.

    Raises:
        OSError: it cannot be written.
    """
    manifest = {
        "run": run_folder.absolute().name,
        **settings,
        "model": trained.config["model"]["_target_"],
        "config_hash": config_hash(trained.config),
        "weights_sha256": weights_digest(run_folder),
        "training_images_sha256": training_images_sha256(run_folder),
        "images": images,
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
