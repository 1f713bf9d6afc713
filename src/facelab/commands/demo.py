"""The command `facelab demo`: a local page on which to try a trained model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from facelab.config.build import build
from facelab.demo.app import make_app
from facelab.demo.serve import HOST, reserve, serve
from facelab.demo.subject import Subject
from facelab.models.finished import find_run
from facelab.models.trained import load
from facelab.tracking import Store


@dataclass(frozen=True)
class Demo:
    """The root of the `demo` config.

    Args:
        run: id of a finished run.
        tracking: the store to download the run from, if it has no folder here.
        port: port to listen on, on 127.0.0.1 only.
        runs_folder: where runs keep their files.
    """

    run: str
    tracking: Store
    port: Annotated[int, Field(ge=1, le=65535)] = 5050
    runs_folder: str = "runs"


def demo(config: Mapping[str, Any]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        config: a checked config of `Demo`.

    Raises:
        ConfigError: there is no such run, its config names what is not there, or the port is in use.
        DataError: the images that the run was trained on cannot be loaded.
        TrackingError: the run is not here, and its store cannot be read.
    """
    options = Demo(**build(config))
    with reserve(options.port) as place:
        trained = load(find_run(options.run, Path(options.runs_folder), options.tracking))
        app = make_app(Subject.of(options.run, trained))
        print(f"Demo of run {options.run}: http://{HOST}:{options.port}/   (Ctrl-C ends it)", flush=True)
        serve(app, place)
