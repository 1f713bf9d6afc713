"""People who are not in the data of a run: for a face embedder that knows none of them, or as donors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facelab.config.build import resolve_target
from facelab.data.faces import FaceSet
from facelab.data.image_list import IMAGES, ImageList, read_image_list
from facelab.data.sources.orl import ORL
from facelab.errors import ConfigError

_FEWEST_PEOPLE = 10  # fewer tell little about how people differ


def other_people(data: Mapping[str, Any], lfw: str | None) -> tuple[str, ...]:
    """Overrides that choose faces of other people, of the same image size and channels.

    They are LFW's, if its folder is given; else AT&T's, of AT&T faces those before the people of `data` or those after
    them, whichever are more.

    Args:
        data: the run's checked config of its data.
        lfw: folder of LFW; None if it is not at hand.

    Returns:
        Overrides of a training config; empty if these are fewer than ten.
    """
    shape = same_shape(data)
    if lfw is not None:
        return "data=lfw", f"data.root={json.dumps(lfw)}", *shape
    if resolve_target(data["_target_"]) is not ORL:
        return "data=orl", *shape
    before, after = data["first_person"] - 1, 40 - data["last_person"]
    if max(before, after) < _FEWEST_PEOPLE:
        return ()
    people = f"first_person={data['last_person'] + 1}" if after >= before else f"last_person={before}"
    return "data=orl", f"data.{people}", *shape


def same_shape(data: Mapping[str, Any]) -> tuple[str, str]:
    """Overrides that choose the image size and the channels of a run, given the checked config of its data."""
    return f"data.image_size={data['image_size']}", f"data.channels={data['channels']}"


def embedder_images(folder: Path) -> ImageList:
    """The images that an embedder was trained on.

    Args:
        folder: of its run.

    Raises:
        ConfigError: the run did not record them.
        DataError: the list is damaged.
    """
    try:
        return read_image_list(folder / IMAGES)
    except FileNotFoundError as error:
        raise ConfigError(
            f"the face embedder in {folder} has no {IMAGES}, so whether it knows the people of this run is unknown. "
            "Restore the file from MLflow, or delete the folder, and the embedder is trained again."
        ) from error


def known_faces(folder: Path, faces: FaceSet) -> int:
    """How many images of a face set an embedder was trained on, or tested on by its own run.

    Args:
        folder: of the embedder's run.
        faces: the face set, at the size of the embedder's images.
    """
    listed = set(embedder_images(folder).table["digest"].to_pylist())
    return sum(bytes.fromhex(digest) in listed for digest in faces.digests)
