"""Write the embeddings of an evaluation: safetensors, with a CSV that says which image each row is of."""

import csv
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from facelab.data.faces import IDENTITY, FaceSet
from facelab.errors import ConfigError
from facelab.protocols.base import Outputs
from facelab.system import check_path

_HEADER = ("name", "part", "identity", "label", "digest")


def embeddings_place(path: str) -> Path:
    """Check where embeddings are to be written.

    Raises:
        ConfigError: it does not end in `.safetensors`, it or the CSV beside it exists, or its folder is missing or
            cannot be written.
    """
    place = Path(path).absolute()
    if place.suffix != ".safetensors":
        raise ConfigError(f"embeddings={path}: expected a file whose name ends in .safetensors.")
    check_path("embeddings", place)
    for file in (place, place.with_suffix(".csv")):
        if file.exists():
            raise ConfigError(f"embeddings: {file} exists. Choose another name, or remove it.")
    if not place.parent.is_dir():
        raise ConfigError(f"embeddings: there is no folder {place.parent}. Create it, or choose another one.")
    try:
        tempfile.TemporaryFile(dir=place.parent).close()
    except OSError as error:
        raise _unwritable(place, error) from error
    return place


def write_embeddings(place: Path, found: Mapping[str, Outputs], faces: FaceSet, source: Mapping[str, str]) -> None:
    """Write `place` with the tensor `embeddings` (N, D) float32, and a CSV of the same name with a row an image.

    Args:
        place: ends in `.safetensors`.
        found: outputs on each part, by its name.
        faces: the face set.
        source: the file's metadata, such as the run's id.

    Raises:
        ConfigError: it cannot be written; nothing is kept.
    """
    identities = faces.columns[IDENTITY].texts if faces.has_identities else np.full(len(faces), "", dtype=object)
    labels, table = faces.columns[faces.label].texts, place.with_suffix(".csv")
    partials = {file: file.with_name(f"{file.name}.partial") for file in (table, place)}
    try:
        with partials[table].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_HEADER)
            for part, outputs in found.items():
                for i in outputs.indices.tolist():
                    writer.writerow((faces.names[i], part, identities[i], labels[i], faces.digests[i]))
        rows = np.concatenate([outputs.embeddings for outputs in found.values()])
        save_file({"embeddings": np.ascontiguousarray(rows)}, partials[place], metadata=dict(source))
        for whole, partial in partials.items():
            partial.replace(whole)
    except (OSError, SafetensorError) as error:
        raise _unwritable(place, error) from error
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def _unwritable(place: Path, error: OSError | SafetensorError) -> ConfigError:
    reason = getattr(error, "strerror", None) or error
    return ConfigError(f"embeddings: {place} cannot be written ({reason}). Choose another folder, or make room.")
