"""The command `facelab demo`: a local page on which to try a trained model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from facelab.config.build import build
from facelab.data.image_list import IMAGES, read_image_list
from facelab.demo.app import make_app
from facelab.demo.people import EnrolledFaces
from facelab.demo.serve import HOST, reserve, serve
from facelab.demo.subject import Subject
from facelab.errors import ConfigError
from facelab.galleries import Recogniser
from facelab.models.finished import find_run
from facelab.models.trained import Trained, load
from facelab.models.transfer import weights_digest
from facelab.system import progress
from facelab.tracking import Store


@dataclass(frozen=True)
class Demo:
    """The root of the `demo` config.

    Args:
        run: id of a finished run.
        tracking: the store to download the run from, if it has no folder here.
        port: port to listen on, on 127.0.0.1 only.
        gallery: folder of enrolled people to compare faces with, made by this run's weights; null for the people that
            the run was trained on.
        runs_folder: where runs keep their files.
    """

    run: str
    tracking: Store
    port: Annotated[int, Field(ge=1, le=65535)] = 5050
    gallery: str | None = None
    runs_folder: str = "runs"


def demo(config: Mapping[str, Any]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        config: a checked config of `Demo`.

    Raises:
        ConfigError: there is no such run or gallery, the gallery is not of this run or empty, or the port is in use.
        DataError: the images that the run was trained on cannot be loaded, or have changed.
        TrackingError: the run is not here, and its store cannot be read.
    """
    options = Demo(**build(config))
    with reserve(options.port) as place:
        folder = find_run(options.run, Path(options.runs_folder), options.tracking)
        trained = load(folder)
        used = read_image_list(folder / IMAGES) if (folder / IMAGES).is_file() else None
        app = make_app(Subject.of(options.run, trained, progress, _enrolled(options, folder, trained), used))
        print(f"Demo of run {options.run}: http://{HOST}:{options.port}/   (Ctrl-C ends it)", flush=True)
        serve(app, place)


def _enrolled(options: Demo, folder: Path, trained: Trained) -> EnrolledFaces | None:
    """The people of the gallery, made by the model in a run's folder, with somebody in it."""
    if options.gallery is None:
        return None
    enrolled = EnrolledFaces(Path(options.gallery))
    gallery = enrolled.gallery
    recogniser = Recogniser(options.run, folder, weights_digest(folder), trained)
    recogniser.refuse_others(gallery.origin, options.gallery)
    if not len(gallery):
        raise ConfigError(f"gallery={options.gallery}: nobody is enrolled. Add people with facelab enroll.")
    return enrolled
