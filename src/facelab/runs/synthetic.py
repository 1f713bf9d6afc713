"""Make the synthetic faces of a run, and add them to its training images."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from facelab.data.contact_sheet import Cell, contact_sheet
from facelab.data.faces import FaceSet
from facelab.errors import DataError
from facelab.models.trained import Trained, load
from facelab.runs.description import sentence_on_synthetic
from facelab.runs.generators import refuse_informed
from facelab.runs.prepare import Prepared
from facelab.runs.resume import CHECKPOINTS
from facelab.synthetic import GeneratedFaces, TransferredFaces
from facelab.synthetic.base import Plan, SyntheticFaces, joined
from facelab.synthetic.generated import ROLES
from facelab.system import progress
from facelab.tracking import TrackedRun
from facelab.training.checkpoint import newest

FILE = "synthetic.safetensors"  # beside the checkpoints, and removed with them
SHEET = "synthetic_faces"
_DIGEST = "synthetic.sha256"
_PORTION = 1 << 14  # faces made at once
_REAL, _SYNTHETIC, _ROWS, _SIDE = 4, 8, 16, 72  # images of a row of the contact sheet, its rows, and pixels


def with_synthetic(prepared: Prepared, tracked: TrackedRun, folders: Mapping[str, Path]) -> Prepared:
    """Add the synthetic faces, if the config asks for any, to the images that are drawn in training.

    They are made once, and kept beside the checkpoints until the run has finished: a resumed run, and every process of
    a distributed one, trains on the same.

    Args:
        prepared: of the run.
        tracked: the run; gets the tags `synthetic.images`, `synthetic.new_classes` and `synthetic.sha256`.
        folders: of the runs that it depends on, by role.

    Raises:
        DataError: the faces that a resumed run was trained on cannot be made again.
        ConfigError: the generator or the recogniser cannot be loaded, or has seen a test or validation image.
    """
    source, plan = prepared.experiment.synthetic, prepared.plan
    if source is None or plan is None:
        return prepared
    real = prepared.faces.only(prepared.splits.train)
    images = _kept(tracked, plan)
    if images is None:
        print(f"Making {len(plan):,} synthetic faces ({source.what}).", flush=True)
        runs = _checked(source, prepared, folders) if isinstance(source, GeneratedFaces) else {}
        images = _made(source, plan, real, runs)
        _keep(images, tracked, plan)
    prepared.data.training_faces = joined(real, plan, images)
    generator = tracked.needs().get("generator")
    return replace(prepared, further=sentence_on_synthetic(source.what, len(plan), len(plan.new_classes), generator))


def _checked(source: GeneratedFaces, prepared: Prepared, folders: Mapping[str, Path]) -> dict[str, Trained]:
    """The runs that make the faces, by role; an error if one has seen what it must not."""
    runs = {}
    for name in folders.keys() & ROLES:
        of_donors = name == "generator" and isinstance(source, TransferredFaces)
        key = f"synthetic.run={source.run}" if name == "generator" and source.run else f"synthetic.{name}"
        refuse_informed(folders[name], prepared.experiment.data, prepared.faces, prepared.splits, key, of_donors)
        runs[name] = load(folders[name])
    return runs


def _made(source: SyntheticFaces, plan: Plan, real: FaceSet, runs: Mapping[str, Trained]) -> NDArray[np.uint8]:
    made, end = np.empty((len(plan), *real.pixels[0].shape), np.uint8), 0
    with progress("synthetic faces made", len(plan)) as advance:
        for portion in plan.portions(_PORTION):
            start, end = end, end + len(portion)
            made[start:end] = source.make(portion, real, runs)
            for _ in range(len(portion)):
                advance()
    return made


def _kept(tracked: TrackedRun, plan: Plan) -> NDArray[np.uint8] | None:
    """The faces made earlier; None if there are none, or they are damaged."""
    try:
        images: NDArray[np.uint8] = load_file(tracked.folder / CHECKPOINTS / FILE)["images"]
    except (OSError, SafetensorError, KeyError):
        return None
    return images if len(images) == len(plan) and _digest(images) == tracked.recorded_tag(_DIGEST) else None


def _keep(images: NDArray[np.uint8], tracked: TrackedRun, plan: Plan) -> None:
    digest, before = _digest(images), tracked.recorded_tag(_DIGEST)
    checkpoint, _ = newest(tracked.folder / CHECKPOINTS)
    if before not in (None, digest) and checkpoint is not None:  # without one, nothing has been trained on them
        raise DataError(
            f"resume={tracked.id}: the synthetic faces that it was trained on are gone, and those made now differ, as "
            "on another machine or with another version of a library. Start a new run."
        )
    file = tracked.folder / CHECKPOINTS / FILE
    file.parent.mkdir(exist_ok=True)
    partial = file.with_suffix(".partial")
    save_file({"images": images}, partial)
    partial.replace(file)
    if before != digest:
        tracked.tag("synthetic.images", str(len(plan)))
        tracked.tag("synthetic.new_classes", str(len(plan.new_classes)))
        tracked.tag(_DIGEST, digest)


def _digest(images: NDArray[np.uint8]) -> str:
    return hashlib.sha256(images.tobytes()).hexdigest()


def synthetic_sheet(plan: Plan, faces: FaceSet) -> NDArray[np.uint8]:
    """Contact sheet (H, W, 3) uint8 of up to 16 labels: real images first, then synthetic faces, in each row.

    The real images of a new class are those of the two people it was mixed of.

    Args:
        plan: of the M synthetic faces.
        faces: the real training images, followed by these.
    """
    first = len(faces) - len(plan)
    shown = np.unique(plan.labels)
    shown = shown[np.unique(np.linspace(0, len(shown) - 1, _ROWS).astype(int))]
    rows = [_row(int(label), plan, faces, first) for label in shown]
    columns = 1 + max(len(real) for real, _ in rows)
    blank: Cell = (np.full(faces.pixels[0].shape, 255, np.uint8), "")
    return contact_sheet([[*real, *[blank] * (columns - len(real)), *made] for real, made in rows], _SIDE)


def _row(label: int, plan: Plan, faces: FaceSet, first: int) -> tuple[list[Cell], list[Cell]]:
    """The real and the synthetic images of a label."""
    made = np.flatnonzero(plan.labels == label)
    parents = dict.fromkeys(plan.parents[made[0]].tolist())
    of_each = [np.flatnonzero(faces.labels[:first] == parent) for parent in parents]
    real = [own[n] for n in range(_REAL) for own in of_each if n < len(own)][:_REAL]
    names = [f"{faces.label_names[label]}\nsynthetic", *[""] * (_SYNTHETIC - 1)]
    return (
        [(faces.pixels[int(i)], f"{faces.label_names[faces.labels[i]]}\nreal") for i in real],
        [(faces.pixels[int(first + i)], name) for i, name in zip(made, names, strict=False)],
    )
