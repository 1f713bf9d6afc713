"""What a run can show, depending on what its model can do."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from facelab.demo.axes import Axes
from facelab.demo.model import Codes, Model
from facelab.demo.people import Known, TrainingFaces
from facelab.demo.photos import PhotoReader
from facelab.demo.training_images import TrainingImages
from facelab.errors import ConfigError, DataError
from facelab.models.base import Generative, Reconstructing
from facelab.models.trained import Trained
from facelab.system import make_console

_EXAMPLES = 24  # training images that show how faces are cropped
_FOR_AXES = 5000  # training images that the directions are computed from
_AXES = 8


@dataclass(frozen=True)
class Subject:
    """A run as the page shows it.

    Args:
        run: its id.
        model: with its weights.
        photos: reads photos; None for a model that takes none.
        known: people to compare faces with; None for a model that does not recognise.
        axes: directions of the embeddings; None for a model that does not reconstruct.
    """

    run: str
    model: Model
    photos: PhotoReader | None = None
    known: Known | None = None
    axes: Axes | None = None

    @classmethod
    def of(cls, run: str, trained: Trained) -> "Subject":
        """Load what the page needs; embeds training images, with a progress bar.

        Args:
            run: its id.
            trained: its model.

        Raises:
            ConfigError: its data cannot be built.
            DataError: its training images cannot be loaded.
        """
        model = Model(trained)
        if isinstance(model.module, Generative) and not isinstance(model.module, Reconstructing):
            return cls(run, model)
        images = _training_images(run, trained.config)
        photos = PhotoReader(model.metadata.image_shape, images.pixels(images.spread(_EXAMPLES)))
        if isinstance(model.module, Reconstructing):
            axes = Axes.of(_embedded(model, images, images.spread(_FOR_AXES)), _AXES)
            return cls(run, model, photos, axes=axes)
        model.module.prepare_evaluation(len(images))
        return cls(run, model, photos, TrainingFaces(images, _embedded(model, images, np.arange(len(images)))))


def _training_images(run: str, config: Mapping[str, Any]) -> TrainingImages:
    try:
        return TrainingImages.of(config)
    except (ConfigError, DataError) as error:
        raise type(error)(f"run={run}: the demo needs the images that the run was trained on. {error}") from error


def _embedded(model: Model, images: TrainingImages, places: np.ndarray[Any, np.dtype[np.int64]]) -> Codes:
    """Embeddings (M, D) of some training images, read a few at a time."""
    with _progress(len(places)) as advance:
        parts = np.array_split(places, max(1, len(places) // 256))
        return np.concatenate([model.embed(images.pixels(part), advance) for part in parts])


@contextmanager
def _progress(count: int) -> Iterator[Callable[[int], None]]:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("training images · ETA"), TimeRemainingColumn())
    with Progress(TextColumn("embedding"), *columns, console=make_console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=count)
        yield lambda by: bar.advance(task, by)
