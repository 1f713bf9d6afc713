"""Development people of a gallery: people who are neither enrolled nor known to the model from its training."""

from collections.abc import Callable, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import compute

from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.image_list import IMAGES, ImageList, read_image_list
from facelab.data.listing import some_of
from facelab.data.recorded import recorded_faces
from facelab.data.sources.concat import SOURCE
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError, DataError, FacelabError
from facelab.galleries.faces import FaceReader
from facelab.galleries.gallery import Development
from facelab.galleries.names import normalised
from facelab.galleries.people import list_people, portraits, stacked
from facelab.galleries.recogniser import Recogniser

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
_BATCH = 256
_INSTEAD = "Give development=<folder of people who are neither enrolled nor in the training>."


def validation_people(recogniser: Recogniser, progress: Progress) -> tuple[Development, list[str]]:
    """The validation people of the run, as it read them, and notes.

    Args:
        recogniser: the model.
        progress: called with what is done and the number of images; gives what to call after each.

    Raises:
        FacelabError: the run has no validation people apart from training, its data cannot be read again or have
            changed, or it did not record its images.
    """
    used = _images_of(recogniser)
    faces, splits = _faces_of_run(recogniser)
    val = splits.val[np.argsort(faces.identities[splits.val], kind="stable")]
    known = np.isin(faces.identities[val], faces.identities[splits.train]).any()
    if not len(val) or known or not faces.has_identities:
        why = "its split has no validation people" if not len(val) else "its validation people are also in training"
        raise ConfigError(f"run={recogniser.run}: {why}, so no threshold can be set by them. {_INSTEAD}")
    recorded = used.digests("val")
    if not {bytes.fromhex(faces.digests[i]) for i in val} <= recorded:
        raise ConfigError(
            f"run={recogniser.run}: its data have changed: {faces.source} holds other validation images than the run "
            f"recorded. Restore them. Or: {_INSTEAD}"
        )
    texts, vectors = faces.columns[IDENTITY].texts[val], []
    with progress("development faces embedded", len(val)) as advance:
        for start in range(0, len(val), _BATCH):
            some = val[start : start + _BATCH]
            vectors.append(recogniser.embed(np.stack([faces.pixels[int(i)] for i in some])))
            for _ in some:
                advance()
    digests = [bytes.fromhex(faces.digests[i]) for i in val]
    names, owners = np.unique(texts.astype(str), return_inverse=True)
    found, notes = _unseen(
        _development(np.concatenate(vectors), owners.tolist(), digests, names.tolist(), "validation people of the run"),
        used,
    )
    sources: set[str] = set(faces.columns[SOURCE].texts[val]) if SOURCE in faces.columns else set()
    return replace(found, names=[_without_source(name, sources) for name in found.names]), notes


def people_of_folder(
    source: str, reader: FaceReader, recogniser: Recogniser, progress: Progress
) -> tuple[Development, list[str]]:
    """The people of a folder with a folder for each, and notes; images that cannot be used are left out.

    Raises:
        FacelabError: it is no such folder, no image can be used, or the run did not record its images.
    """
    used = _images_of(recogniser)
    people = list_people(source, "development")
    with progress("development photos embedded", sum(map(len, people.values()))) as advance:
        found = portraits(people, reader, recogniser, advance)
    if not found.names:
        raise DataError(f"development: none of the images can be used: {' '.join(found.problems[:3])}")
    notes = []
    if found.problems:
        notes.append(f"{len(found.problems):,} development images are left out: {' '.join(found.problems[:3])}")
    vectors = stacked(found.embeddings, 1)
    made = _development(vectors, found.owners, found.digests, found.names, in_words(source))
    kept, further = _unseen(made, used)
    return kept, notes + further


def in_words(source: str) -> str:
    """How a gallery names development people who come from a folder."""
    return f"people of {source}"


def _development(
    vectors: Any, owners: Sequence[int], digests: Sequence[bytes], names: Sequence[str], source: str
) -> Development:
    rows = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32).copy()
    return Development(torch.from_numpy(vectors), torch.tensor(owners), torch.from_numpy(rows), names, source)


def _unseen(found: Development, used: ImageList) -> tuple[Development, list[str]]:
    """Leave out people who are in the training, by an image or by name, and say so.

    Equal names are taken for the same person wherever they come from, so that at worst a few searches are lost.
    """
    parts = ("train", "pretrained")
    table = used.table.filter(compute.is_in(used.table["part"].cast("string"), value_set=pa.array(parts, pa.string())))
    identities = table["identity"].cast("string").unique().to_pylist()
    # Those of data=concat may have a source's name before them, which folders of people have not.
    names = {normalised(name) for one in identities for name in (one, one.partition("/")[2] or one)}
    seen = used.digests(*parts)
    rows = zip(found.owners.tolist(), found.digests.numpy(), strict=True)
    shared = {owner for owner, row in rows if row.tobytes() in seen}
    gone = [normalised(name) in names or place in shared for place, name in enumerate(found.names)]
    left_out = [name for name, flag in zip(found.names, gone, strict=True) if flag]
    if not left_out:
        return found, []
    note = f"{len(left_out):,} development people are left out, since the run was trained on people of these names or "
    return found.without(gone), [f"{note}on their images: {some_of(left_out)}."]


def _without_source(name: str, sources: Set[str]) -> str:
    """The name of a person, without that of the source that data.shared_identities=false puts before it."""
    source, _, own = name.partition("/")
    return own if own and source in sources else name


def _images_of(recogniser: Recogniser) -> ImageList:
    path = recogniser.folder / IMAGES
    used = read_image_list(path) if path.is_file() else None
    if used is None or used.unlisted:
        raise ConfigError(
            f"run={recogniser.run}: it, or a run that its training started from, was made by a version of facelab that "
            "did not record the images it used, so whom it was trained on is unknown. Train it again."
        )
    return used


def _faces_of_run(recogniser: Recogniser) -> tuple[FaceSet, Splits]:
    try:
        return recorded_faces(recogniser.trained.config)
    except FacelabError as error:
        raise type(error)(
            f"run={recogniser.run}: its validation people cannot be read again: {error} Or: {_INSTEAD}"
        ) from error
