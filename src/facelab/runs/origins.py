"""What a run learns from beside its own images: the run it starts from, and runs that generated faces for it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from facelab.config.build import build
from facelab.data.faces import FaceSet
from facelab.data.image_list import IMAGES, ImageList, read_image_list
from facelab.data.source import FaceSource
from facelab.data.sources.concat import Concat
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError, DataError
from facelab.models.finished import find_run
from facelab.models.transfer import find_weights, weights_digest
from facelab.tracking import Store, is_run_id

MANIFEST = "manifest.json"  # of `facelab generate`
_OURS = {"run", "psi", "images"}  # keys of every manifest of ours, and hardly of another program's


def images_used(config: Mapping[str, Any], source: FaceSource, faces: FaceSet, splits: Splits) -> ImageList:
    """The images of a run, and those that the runs it starts from or gets faces of were trained on.

    Args:
        config: of the run, checked.
        source: that the faces were loaded from.
        faces: the face set.
        splits: train, val and test.

    Raises:
        ConfigError: a run that the config names cannot be found.
        DataError: the manifest of a generated set, or a list of images, is damaged.
        TrackingError: the store cannot be reached or read.
    """
    used = ImageList.of(source, faces, splits)
    store, runs_folder = build({"tracking": config["tracking"]})["tracking"], Path(config["runtime"]["runs_folder"])
    init_from = config["model"].get("init_from")
    if init_from is not None:
        weights = find_weights(init_from, runs_folder, store)
        used = used.after(listed(weights), weights.absolute().name)
    given = (config.get("synthetic") or {}).get("run")
    if given is not None:
        used = used.after(listed(find_run(given, runs_folder, store, "synthetic.run")), given)
    for manifest in manifests(source):
        used = used.after(_images_behind(manifest, runs_folder, store), manifest["run"])
    return used


def listed(folder: Path) -> ImageList | None:
    """The images that a run lists in its folder; None if it lists none.

    Raises:
        DataError: the list is damaged.
    """
    return read_image_list(folder / IMAGES) if (folder / IMAGES).is_file() else None


def training_images_sha256(folder: Path) -> str | None:
    """SHA-256 over the sorted digests of the images that a run was trained on; None without a list.

    Args:
        folder: of the run.

    Raises:
        DataError: the list is damaged.
    """
    used = listed(folder)
    if used is None:
        return None
    trained_on = used.table.filter(compute.equal(used.table["part"].cast(pa.string()), "train"))
    return hashlib.sha256(b"".join(sorted(trained_on["digest"].to_pylist()))).hexdigest()


def manifests(source: FaceSource) -> list[dict[str, Any]]:
    """The manifests of the generated sets that a source reads, in its folder or in one directly below it.

    Raises:
        DataError: one is damaged, or names no run.
    """
    inner = [value for value in vars(source).values() if isinstance(value, FaceSource)]
    inner += source.sources.values() if isinstance(source, Concat) else []
    places = [Path(place) for key in ("root", "path", "file") if (place := getattr(source, key, None))]
    found = [place.parent / MANIFEST for place in places if place.is_file()]
    for folder in (place for place in places if place.is_dir()):
        found += [folder / MANIFEST, *sorted(folder.glob(f"*/{MANIFEST}"))]
    own = [content for path in found if path.is_file() and (content := _read(path)) is not None]
    return own + [content for one in inner for content in manifests(one)]


def _read(path: Path) -> dict[str, Any] | None:
    """A manifest of `facelab generate`; None for a file of another program."""
    mended = "Generate the set again, or restore the file; delete it if `facelab generate` did not write it."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"data: {path.absolute()} cannot be read ({str(error)[:200]}). {mended}") from error
    if not isinstance(content, dict) or not content.keys() >= _OURS:
        return None
    if not isinstance(content["run"], str) or not is_run_id(content["run"]):
        raise DataError(
            f"data: {path.absolute()} does not name the run that generated the images beside it: its `run` is not the "
            f"id of a run, 32 hexadecimal digits. {mended}"
        )
    return content


def _images_behind(manifest: Mapping[str, Any], runs_folder: Path, store: Store) -> ImageList | None:
    """The images of the run that generated a set; None if it cannot be found, or is not the one that did."""
    try:
        folder = find_run(manifest["run"], runs_folder, store)
    except ConfigError:
        return None
    recorded = manifest.get("weights_sha256"), manifest.get("training_images_sha256")
    return listed(folder) if recorded == (weights_digest(folder), training_images_sha256(folder)) else None
