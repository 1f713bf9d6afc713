"""What a run can show, depending on what its model can do."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from facelab.data.columns import Indices
from facelab.data.image_list import ImageList
from facelab.demo.axes import Axes
from facelab.demo.model import Codes, Model, Pixels
from facelab.demo.people import EnrolledFaces, Known, TrainingFaces
from facelab.demo.photos import PhotoReader
from facelab.demo.training_images import TrainingImages
from facelab.errors import ConfigError, DataError
from facelab.galleries import Gallery
from facelab.models.base import Generative, Reconstructing
from facelab.models.trained import Trained
from facelab.system import say

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]

_EXAMPLES = 16  # training images that show how faces are cropped
_FOR_AXES = 5000  # training images that the directions are computed from
_AXES = 8
_AT_ONCE = 64


@dataclass(frozen=True)
class Subject:
    """A run as the page shows it.

    Args:
        run: its id.
        model: with its weights.
        photos: reads photos, if the model takes any.
        known: people to compare faces with, if any.
        axes: directions of the embeddings, if the model decodes them.
    """

    run: str
    model: Model
    photos: PhotoReader | None = None
    known: Known | None = None
    axes: Axes | None = None

    @classmethod
    def of(
        cls,
        run: str,
        trained: Trained,
        progress: Progress,
        enrolled: EnrolledFaces | None = None,
        used: ImageList | None = None,
    ) -> "Subject":
        """Load what the page needs, and embed training images.

        Args:
            run: its id.
            trained: its model.
            progress: called with what is done and the number of images; gives what to call after each.
            enrolled: people to compare faces with, instead of those the model was trained on; made by these weights.
            used: the list of the run's images; None if it recorded none, so that changes of them go unnoticed.

        Raises:
            ConfigError: the model does not recognise and there is a gallery, or its data cannot be built.
            DataError: its training images cannot be loaded, or have changed.
        """
        model, gallery = Model(trained), None if enrolled is None else enrolled.gallery
        decodes = isinstance(model.module, Reconstructing)
        if isinstance(model.module, Generative) and not decodes:
            if gallery is not None:
                kind = type(model.module).__name__
                raise ConfigError(
                    f"gallery: the model of run={run}, {kind}, makes faces and recognises none. Remove gallery=."
                )
            return cls(run, model)
        images = None if gallery is not None and not decodes else _training_images(run, trained.config, used)
        model.module.prepare_evaluation(len(images) if images is not None and gallery is None else 1)
        photos = PhotoReader(model.metadata.image_shape, _examples(images, gallery))
        axes = known = None
        if images is not None and decodes:
            axes = Axes.of(_embedded(model, images, images.spread(_FOR_AXES), progress), _AXES)
        elif images is not None:
            known = TrainingFaces(images, _embedded(model, images, np.arange(len(images)), progress))
        return cls(run, model, photos, known if enrolled is None else enrolled, axes)


def _examples(images: TrainingImages | None, gallery: Gallery | None) -> Sequence[Pixels]:
    """Images that show how faces are cropped."""
    if gallery is not None:  # a gallery of photos has aligned faces
        return (
            [gallery.thumbnail(person) for person in range(min(len(gallery), _EXAMPLES))]
            if gallery.origin.aligned
            else []
        )
    assert images is not None
    return list(images.pixels(images.spread(_EXAMPLES)))


def _training_images(run: str, config: Mapping[str, Any], used: ImageList | None) -> TrainingImages:
    if used is None:
        say(f"Note: run={run} recorded no list of its images, so changes of them go unnoticed.")
    try:
        return TrainingImages.of(config, used)
    except (ConfigError, DataError) as error:
        raise type(error)(f"run={run}: the demo needs the images that the run was trained on. {error}") from error


def _embedded(model: Model, images: TrainingImages, places: Indices, progress: Progress) -> Codes:
    """Embeddings (M, D) of some training images, read a few at a time."""
    found = []
    with progress("images embedded", len(places)) as advance:
        for part in np.array_split(places, math.ceil(len(places) / _AT_ONCE)):
            found.append(model.embed(images.pixels(part)))
            for _ in part:
                advance()
    return np.concatenate(found)
